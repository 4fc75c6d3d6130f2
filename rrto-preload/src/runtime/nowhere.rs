//! A remote that is not there.

use std::time::Duration;

use bytes::Bytes;
use rrto_core::api::CuResult;
use rrto_core::operator::{Operator, Outcome};
use rrto_quic::{LinkStatistics, Submission};

use crate::client::Remote;

/// Fails everything that would travel.
pub(super) struct Nowhere;

impl Remote for Nowhere {
    fn sticky(&self) -> Option<CuResult> {
        None
    }

    fn submit(&self, _: u32, _: Operator, _: Option<Bytes>, _: &mut dyn FnMut(u64)) -> Submission {
        Submission::Answered(Err(CuResult::DEVICE_UNAVAILABLE))
    }

    fn wait(&self, _: u64) -> Outcome {
        Err(CuResult::DEVICE_UNAVAILABLE)
    }

    fn lost(&self) -> Option<String> {
        None
    }

    fn statistics(&self) -> LinkStatistics {
        LinkStatistics::default()
    }

    fn close(&self, _: Duration) {}
}
