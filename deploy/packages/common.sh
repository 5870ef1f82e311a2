# shellcheck shell=bash
# Functions of the scripts in this folder. They read the properties of a binary.

# Prints a message and ends the script.
fail() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Ends the script if one of these commands is missing.
need() {
    local command
    for command in "$@"; do
        command -v "$command" >/dev/null || fail "$command is missing: .ci/setup packages installs what the packages are built with"
    done
}

# The processor that a binary is for, such as x86_64.
machine_of() {
    case $(LC_ALL=C readelf --file-header "$1" | sed -n 's/^ *Machine: *//p') in
    *X86-64) echo x86_64 ;;
    AArch64) echo aarch64 ;;
    *) fail "$1 is neither for x86-64 nor for arm64" ;;
    esac
}

# The version of a program, which must run on this machine.
version_of() {
    local version
    version=$("$1" --version) || fail "$1 does not run here, and its version and man pages come from itself"
    echo "${version#runlog }"
}

# The oldest version of glibc that has every symbol that a binary needs.
glibc_of() {
    LC_ALL=C objdump -T "$1" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1 | cut -d_ -f2
}

# The time that is written into packages, in seconds since 1970: two builds of one commit are equal.
packages_time() {
    echo "${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
}

# Writes a folder as a tar file to standard output, without users, and with one time.
tar_of() {
    tar --create --format=gnu --sort=name --mtime="@$(packages_time)" --owner=0 --group=0 --numeric-owner "$@"
}
