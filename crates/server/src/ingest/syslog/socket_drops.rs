//! How many datagrams the operating system discarded because a socket was not read quickly enough.

use std::os::fd::AsRawFd;
use std::path::Path;

/// Datagrams that were discarded since the socket was opened; none where the system does not say.
pub(super) fn datagrams_lost(socket: &impl AsRawFd) -> Option<u64> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).ok()?;
    let inode = inode(&link)?;
    ["/proc/self/net/udp", "/proc/self/net/udp6"].iter().find_map(|table| {
        let table = std::fs::read_to_string(table).ok()?;
        drops_in(&table, &inode)
    })
}

/// The number in `socket:[4711]`.
fn inode(link: &Path) -> Option<String> {
    let text = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
    Some(text.to_owned())
}

/// The last column of the line with this inode, which is in the tenth.
fn drops_in(table: &str, inode: &str) -> Option<u64> {
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let line = table.lines().skip(1).map(columns).find(|columns| columns.get(9).is_some_and(|it| it == inode))?;
    line.get(12)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_datagrams_are_read_from_the_table_of_sockets() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  \
             17: 0100007F:1597 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 23\n";
        assert_eq!(drops_in(table, "4711"), Some(23));
        assert_eq!(drops_in(table, "471"), None);
        assert_eq!(drops_in("", "4711"), None);
    }

    #[test]
    fn a_socket_that_is_not_read_loses_datagrams() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(datagrams_lost(&socket), Some(0));
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        for _ in 0..20_000 {
            sender.send_to(&[0; 1_024], address).unwrap();
        }
        assert!(datagrams_lost(&socket).unwrap() > 0);
    }
}
