//! A line `at …` of a stack trace, and whether it is the job's own code.

/// Packages whose frames are not the job's own: the platform, Talend's runtime, drivers and libraries. Sorted, and
/// none begins with another.
///
/// Source: the runtimes on which jobs are built, and the libraries and connectors of Talend's components. `routines.`
/// without `system` is the job's own code: routines written by its authors.
pub const FOREIGN_PREFIXES: &[&str] = &[
    "akka.",
    "ch.qos.logback.",
    "com.amazonaws.",
    "com.azure.",
    "com.couchbase.",
    "com.datastax.",
    "com.fasterxml.",
    "com.google.",
    "com.ibm.",
    "com.jcraft.",
    "com.microsoft.",
    "com.mongodb.",
    "com.mysql.",
    "com.sap.",
    "com.sforce.",
    "com.simba.",
    "com.squareup.",
    "com.sun.",
    "com.sybase.",
    "com.teradata.",
    "com.vertica.",
    "com.zaxxer.",
    "groovy.",
    "io.grpc.",
    "io.netty.",
    "jakarta.",
    "java.",
    "javax.",
    "jdk.",
    "kotlin.",
    "net.sf.",
    "net.snowflake.",
    "net.sourceforge.",
    "okhttp3.",
    "okio.",
    "oracle.",
    "org.apache.",
    "org.bson.",
    "org.codehaus.",
    "org.dom4j.",
    "org.eclipse.",
    "org.elasticsearch.",
    "org.glassfish.",
    "org.h2.",
    "org.hibernate.",
    "org.hsqldb.",
    "org.jboss.",
    "org.mariadb.",
    "org.mongodb.",
    "org.osgi.",
    "org.postgresql.",
    "org.slf4j.",
    "org.springframework.",
    "org.sqlite.",
    "org.talend.",
    "org.w3c.",
    "org.xml.",
    "py4j.",
    "reactor.",
    "routines.system.",
    "scala.",
    "software.amazon.",
    "sun.",
];

/// One line of a stack trace: the position of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Class and method, as in `demo.orders_0_1.orders.tDBInput_1Process`, without the module.
    pub method: &'a str,
    /// The text in brackets: file and line, `Native Method`, `Unknown Source`.
    pub location: &'a str,
}

impl<'a> Frame<'a> {
    /// Parses `at package.Class.method(File.java:12)`; the line may be indented, and text after the bracket is ignored.
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        let call = line.trim_start().strip_prefix("at ")?;
        let (path, rest) = call.split_once('(')?;
        let (location, _) = rest.split_once(')')?;
        // The text after a module has no slash, except before the number of a lambda:
        // `Feed$$Lambda$171/2132586099.apply`.
        let is_number = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_digit());
        let method = match path.rmatch_indices('/').find(|(slash, _)| !is_number(&&path[slash + 1..])) {
            Some((slash, _)) => &path[slash + 1..],
            None => path,
        };
        let is_method = method.contains('.') && !method.contains(char::is_whitespace);
        is_method.then_some(Self { method, location })
    }

    /// True for the job's own code: the package is not in [`FOREIGN_PREFIXES`].
    pub fn is_own(&self) -> bool {
        let after = FOREIGN_PREFIXES.partition_point(|prefix| *prefix <= self.method);
        !after.checked_sub(1).is_some_and(|at| self.method.starts_with(FOREIGN_PREFIXES[at]))
    }

    /// Returns class and method without the parts that a new build changes: the version of the job (`orders_0_1.`) and
    /// the numbers of generated names (`lambda$0`, `$1`, `$Proxy12`, `GeneratedMethodAccessor7`).
    pub(super) fn stable_name(&self) -> String {
        let mut name = String::with_capacity(self.method.len());
        for (place, segment) in self.method.split('.').enumerate() {
            if place > 0 {
                name.push('.');
            }
            let is_package = segment.starts_with(|c: char| c.is_ascii_lowercase());
            match package_version(segment).filter(|_| is_package) {
                Some(version_start) => name.push_str(&segment[..version_start]),
                None => push_without_made_numbers(segment, &mut name),
            }
        }
        name
    }
}

/// Returns the start of `_0_1` in `orders_0_1`.
fn package_version(segment: &str) -> Option<usize> {
    let before_digits = |text: &str| {
        let start = text.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        (start < text.len() && text[..start].ends_with('_')).then(|| start - 1)
    };
    let minor = before_digits(segment)?;
    before_digits(&segment[..minor]).filter(|major| *major > 0)
}

fn push_without_made_numbers(segment: &str, name: &mut String) {
    let mut rest = segment;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let length = rest[start..].bytes().take_while(u8::is_ascii_digit).count();
        let (before, number) = (&rest[..start], &rest[start..start + length]);
        name.push_str(before);
        let made = ["$", "$Proxy", "Accessor", "/", "/0x"].into_iter().any(|ending| before.ends_with(ending));
        name.push_str(if made { "<number>" } else { number });
        rest = &rest[start + length..];
    }
    name.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_name(line: &str, expected: &str) {
        assert_eq!(Frame::parse(line).unwrap().stable_name(), expected);
    }

    #[test]
    fn prefixes_are_sorted_and_none_begins_with_another() {
        for pair in FOREIGN_PREFIXES.windows(2) {
            assert!(pair[0] < pair[1] && !pair[1].starts_with(pair[0]), "{pair:?}");
        }
    }

    #[test]
    fn own_code_is_what_no_prefix_names() {
        let own = |method| Frame { method, location: "" }.is_own();
        for method in ["demo.orders_0_1.orders.runJob", "routines.Prices.round", "javascript.A.b", "a.B.c", "zoo.A.b"] {
            assert!(own(method), "{method}");
        }
        for method in ["java.util.List.get", "routines.system.Dynamic.get", "org.talend.A.b", "sun.A.b", "akka.A.b"] {
            assert!(!own(method), "{method}");
        }
    }

    #[test]
    fn modules_and_jars_are_left_out() {
        let line = "\tat java.base/java.util.ArrayList.get(ArrayList.java:427) ~[?:?]";
        assert_eq!(
            Frame::parse(line),
            Some(Frame { method: "java.util.ArrayList.get", location: "ArrayList.java:427" })
        );
        assert_eq!(Frame::parse("at least three (or four) rows"), None);
        assert_eq!(Frame::parse("... 12 more"), None);
    }

    #[test]
    fn a_name_survives_a_new_build() {
        check_name(
            "at demo.orders_0_1.orders.tDBInput_1Process(orders.java:1)",
            "demo.orders.orders.tDBInput_1Process",
        );
        check_name("at demo.orders_12_34.orders$1.run(orders.java:1)", "demo.orders.orders$<number>.run");
        check_name("at a.B.lambda$main$0(B.java:1)", "a.B.lambda$main$<number>");
        check_name("at com.sun.proxy.$Proxy12.get(Unknown Source)", "com.sun.proxy.$Proxy<number>.get");
        check_name("at a.Utf8.read2(B.java:1)", "a.Utf8.read2");
        check_name(
            "at demo.Feed$$Lambda$171/2132586099.apply(Unknown Source)",
            "demo.Feed$$Lambda$<number>/<number>.apply",
        );
        check_name("at app//a.B.c(B.java:1)", "a.B.c");
    }
}
