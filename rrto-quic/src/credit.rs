//! Bulk has a credit; control goes ahead of it.
//!
//! quinn has one budget for all that a connection has written and the peer has not acknowledged ([`SEND_WINDOW_BYTES`]), and
//! a stream's priority reserves none of it: bulk, which refills whatever becomes free, keeps a control frame from being
//! written at all. So that budget is the bulk's, and for the moment of its own writes control has [`CONTROL_BYTES`] more. Once
//! written, a control frame is in the next packet, because of its stream's priority.

use std::future::{Future, poll_fn};
use std::pin::pin;

use quinn::{Connection, SendStream, WriteError};

use crate::transport::SEND_WINDOW_BYTES;

/// What control may have on its way beyond all bulk: all operators that a client keeps unacknowledged, but for a few large ones.
pub(crate) const CONTROL_BYTES: u64 = 1 << 20;

/// Writes all of `bytes` to a control stream of `connection`, however much bulk waits.
pub(crate) async fn write_ahead(
    connection: &Connection,
    stream: &mut SendStream,
    bytes: &[u8],
) -> Result<(), WriteError> {
    let mut written = pin!(stream.write_all(bytes));
    poll_fn(|cx| {
        // Within one poll, so that no bulk is written meanwhile.
        connection.set_send_window(SEND_WINDOW_BYTES + CONTROL_BYTES);
        let written = written.as_mut().poll(cx);
        connection.set_send_window(SEND_WINDOW_BYTES);
        written
    })
    .await
}
