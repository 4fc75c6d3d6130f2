//! Where HOST:PORT is: addresses that are written there, and what the name service says about names.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netdevice;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::system::System;

/// How soon a name is looked up again.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Addresses of a name that are kept: more than names have that people give to one machine.
const MOST_ADDRESSES: usize = 16;

/// The host, without brackets, and the port of HOST:PORT.
pub(crate) fn split(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    Some((bare.unwrap_or(host), port)).filter(|(host, _)| !host.is_empty())
}

/// An IPv6 address and, after a `%`, its zone: an interface's name or number (RFC 4007, section 11).
pub(crate) fn scoped(host: &str) -> Option<(Ipv6Addr, Option<&str>)> {
    let (address, zone) = match host.split_once('%') {
        Some((address, zone)) => (address, Some(zone).filter(|zone| !zone.is_empty())),
        None => (host, None),
    };
    Some((address.parse().ok()?, zone))
}

/// Whether this address means something on one link only.
pub(crate) fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments().first().is_some_and(|first| first & 0xffc0 == 0xfe80)
}

/// All addresses of HOST:PORT. Blocks on the name service if HOST is a name.
///
/// # Errors
/// The system's, or what is wrong with an address.
pub fn resolve(host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
    if let Some(written) = written(host_and_port) {
        return written;
    }
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "expected HOST:PORT");
    let (host, port) = split(host_and_port).ok_or_else(invalid)?;
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.take(MOST_ADDRESSES).collect();
    if addresses.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(addresses) }
}

/// The address, if HOST is one and not a name. Asks nobody but this machine.
pub(crate) fn written(host_and_port: &str) -> Option<io::Result<Vec<SocketAddr>>> {
    let (host, port) = split(host_and_port)?;
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Some(Ok(vec![(address, port).into()]));
    }
    let (address, zone) = scoped(host)?;
    // Of other addresses the system takes no notice of a zone, and names none where packets come from.
    let zone = zone.filter(|_| is_link_local(address)).map_or(Ok(0), interface);
    Some(zone.map(|zone| vec![SocketAddrV6::new(address, port, 0, zone).into()]))
}

/// The number of the interface of this name, or with it.
fn interface(zone: &str) -> io::Result<u32> {
    if let Ok(number) = zone.parse() {
        return Ok(number);
    }
    // Which socket is asked does not matter.
    let any = UnixDatagram::unbound()?;
    netdevice::name_to_index(&any, zone).map_err(|error| match error {
        Errno::NODEV => {
            io::Error::new(io::ErrorKind::NotFound, format!("this machine has no network interface {zone}"))
        }
        error => error.into(),
    })
}

/// Addresses in the order in which they are tried: as they come, but the families take turns, since one of them may be dead as a
/// whole (RFC 8305, section 4).
pub(crate) fn interleaved(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first_family =
        |address: &SocketAddr| addresses.first().is_some_and(|first| first.is_ipv4() == address.is_ipv4());
    let (first, second): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().copied().partition(is_first_family);
    let longer = first.len().max(second.len());
    (0..longer).flat_map(|at| [first.get(at), second.get(at)]).flatten().copied().collect()
}

/// What the name service has said about a name, and is asked again beside everything else: it may take longer to answer than
/// anybody can wait.
#[derive(Debug)]
pub(crate) struct Names {
    system: Arc<dyn System>,
    name: String,
    known: Arc<Known>,
}

#[derive(Debug)]
struct Known {
    state: Mutex<State>,
    /// Questions that have been answered.
    answered: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    is_asking: bool,
    asked: Option<Instant>,
    /// Newest first.
    addresses: Vec<SocketAddr>,
    /// Why the last question was in vain.
    error: Option<io::Error>,
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Names {
    /// Of HOST:PORT, of which nothing is known yet.
    pub(crate) fn new(system: Arc<dyn System>, name: &str) -> Self {
        let known = Known { state: Mutex::default(), answered: watch::Sender::new(0) };
        Names { system, name: name.to_owned(), known: Arc::new(known) }
    }

    /// Asks now, and waits for the answer: addresses in the order in which to try them.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let mut answered = self.known.answered.subscribe();
        answered.mark_unchanged();
        self.forget_when();
        self.ask();
        // The sender lives as long as this does.
        let _ = answered.changed().await;
        let mut state = self.known.lock();
        match state.error.take() {
            Some(error) if state.addresses.is_empty() => Err(error),
            _ => Ok(interleaved(&state.addresses)),
        }
    }

    /// Asks again, unless that is being done or was a moment ago. Must be called in a tokio runtime.
    pub(crate) fn ask(&self) {
        {
            let mut state = self.known.lock();
            let now = Instant::now();
            if state.is_asking || state.asked.is_some_and(|asked| now.duration_since(asked) < ASK_EVERY) {
                return;
            }
            state.is_asking = true;
            state.asked = Some(now);
        }
        let (answer, known) = (self.system.resolve(self.name.clone()), self.known.clone());
        tokio::spawn(async move {
            let answer = answer.await;
            known.lock().take(answer);
            known.answered.send_modify(|count| *count += 1);
        });
    }

    /// The next question may be asked at once: where this machine is now, a name may mean something else.
    pub(crate) fn forget_when(&self) {
        self.known.lock().asked = None;
    }

    /// Addresses that are or were the name's, the newest first.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.known.lock().addresses.clone()
    }
}

impl State {
    /// Addresses that are no longer the name's are kept, behind those that are: the answer may be wrong for a while.
    fn take(&mut self, answer: io::Result<Vec<SocketAddr>>) {
        self.is_asking = false;
        match answer {
            Ok(mut addresses) => {
                let before = std::mem::take(&mut self.addresses);
                addresses.extend(
                    before.into_iter().filter(|address| !addresses.contains(address)).collect::<Vec<_>>(),
                );
                addresses.truncate(MOST_ADDRESSES);
                self.addresses = addresses;
                self.error = None;
            }
            Err(error) => self.error = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_need_no_name_service() {
        for (text, expected) in [
            ("10.0.0.7:7786", "10.0.0.7:7786"),
            ("[fd00::7]:7786", "[fd00::7]:7786"),
            ("[fe80::1%7]:9", "[fe80::1%7]:9"),
            // Only link-local addresses have a zone that matters.
            ("[fd00::7%lo]:9", "[fd00::7]:9"),
        ] {
            assert_eq!(resolve(text).unwrap(), [address(expected)], "{text}");
        }
        let error = resolve("[fe80::1%no-such-one]:9").unwrap_err().to_string();
        assert_eq!(error, "this machine has no network interface no-such-one");
    }

    #[test]
    fn a_zone_is_an_interface_of_this_machine() {
        // Every Linux has a loopback interface, which is its first.
        assert_eq!(resolve("[fe80::1%lo]:9").unwrap(), [address("[fe80::1%1]:9")]);
    }

    #[test]
    fn families_take_turns() {
        let all = ["[fd00::1]:1", "[fd00::2]:1", "[fd00::3]:1", "10.0.0.1:1", "10.0.0.2:1"].map(address);
        let expected = ["[fd00::1]:1", "10.0.0.1:1", "[fd00::2]:1", "10.0.0.2:1", "[fd00::3]:1"].map(address);
        assert_eq!(interleaved(&all), expected);
        assert_eq!(interleaved(&all[3..]), all[3..]);
        assert_eq!(interleaved(&[]), []);
    }

    #[test]
    fn old_addresses_are_kept_behind_the_new() {
        let mut state = State::default();
        let [one, two, three] = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"].map(address);
        state.take(Ok(vec![one, two]));
        state.take(Err(io::ErrorKind::TimedOut.into()));
        assert_eq!(state.addresses, [one, two]);
        state.take(Ok(vec![three, two]));
        assert_eq!(state.addresses, [three, two, one]);
        for last in 0..100u8 {
            state.take(Ok(vec![([10, 0, 1, last], 1).into()]));
        }
        assert_eq!(state.addresses.len(), MOST_ADDRESSES);
    }
}
