//! Who a datagram is from, where strangers are counted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::relay::FlowId;

/// What limits count by: who has one address of IPv6 has its network of 64 bits (RFC 4291, section 2.5.1). Who comes through a
/// relay is told apart by what the relay calls it.
pub fn source_of(address: SocketAddr) -> IpAddr {
    const NETWORK: u128 = !0 << 64;
    match address.ip().to_canonical() {
        IpAddr::V6(v6) if FlowId::of_address(address).is_none() => {
            Ipv6Addr::from(u128::from(v6) & NETWORK).into()
        }
        ip => ip,
    }
}
