//! What the fuzz target does with its input: a plain function, so that tests run it as well.

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::inbox::{Filled, Inbox};
use super::message::{ToServer, ToWorker};
use super::outbox::Outbox;

/// Bytes of an input that are looked at: what a socket takes before anybody reads.
const MOST_BYTES: usize = 32 << 10;

/// Reads `input` as what the server tells a worker, and as what a worker tells the server, which is the one that it has to
/// fear: a worker loads strangers' images. What is a message can be sent again.
pub fn messages(input: &[u8]) {
    let input = input.get(..MOST_BYTES).unwrap_or(input);
    read::<ToWorker>(input);
    read::<ToServer>(input);
}

fn read<H: Serialize + DeserializeOwned>(input: &[u8]) {
    let Ok((mut from, to)) = UnixStream::pair() else { return };
    if from.write_all(input).is_err() || from.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
    loop {
        let Ok(filled) = inbox.fill(&to) else { return };
        loop {
            match inbox.next::<H>() {
                Ok(Some((message, body))) => {
                    let body: Bytes = body;
                    assert!(
                        outbox.push(&message, body).is_ok(),
                        "a message that came is too long to be sent"
                    );
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
        if filled == Filled::End {
            return;
        }
    }
}
