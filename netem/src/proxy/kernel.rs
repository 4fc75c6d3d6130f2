//! What the kernel threw away before the link saw it.
//!
//! Such a loss is in no script, and an experiment that has one is spoilt; so it is counted where Linux tells. Elsewhere it is 0.

use std::collections::HashMap;
use std::fs::read_to_string;
use std::os::fd::AsFd;

use rustix::fs::fstat;

/// Linux's tables of UDP sockets.
const TABLES: [&str; 2] = ["/proc/self/net/udp", "/proc/self/net/udp6"];

/// The columns of a table's row that hold the socket's inode and its drops.
const INODE_COLUMN: usize = 9;
const DROPS_COLUMN: usize = 12;

/// How much each UDP socket of this machine has dropped since it was made, by inode.
pub(super) struct Drops(HashMap<u64, u64>);

impl Drops {
    /// Reads the tables.
    pub(super) fn read() -> Self {
        let tables = TABLES.map(|table| read_to_string(table).unwrap_or_default());
        Self(tables.iter().flat_map(|table| table.lines()).filter_map(row).collect())
    }

    /// What `socket` has dropped because its buffer was full.
    pub(super) fn of(&self, socket: &impl AsFd) -> u64 {
        let inode = fstat(socket).map(|stat| stat.st_ino).ok();
        inode.and_then(|inode| self.0.get(&inode).copied()).unwrap_or(0)
    }
}

fn row(line: &str) -> Option<(u64, u64)> {
    let columns: Vec<_> = line.split_whitespace().collect();
    let number = |column: usize| columns.get(column)?.parse().ok();
    Some((number(INODE_COLUMN)?, number(DROPS_COLUMN)?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn an_overflowing_socket_has_drops() {
        let (full, sender) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        assert_eq!(Drops::read().of(&full), 0);
        // 64 MB are more than any socket buffer holds.
        for _ in 0..1_000 {
            let _ = sender.send_to(&[0; 64_000], full.local_addr().unwrap());
        }
        assert!(Drops::read().of(&full) > 0);
    }
}
