//! A remote that is not there, for measuring what is answered without one.

use std::time::Duration;

use bytes::Bytes;
use rrto_core::api::{CuResult, FunctionAttribute};
use rrto_core::operator::{KernelInfo, Operator, Outcome, Value};
use rrto_core::replay::ReplayStatistics;
use rrto_quic::{LinkStatistics, Submission};

use crate::client::Remote;

/// Executes nothing and says that it worked. Every kernel has one value for every attribute, and no parameters.
pub(super) struct Nowhere;

impl Remote for Nowhere {
    fn sticky(&self) -> Option<CuResult> {
        None
    }

    fn submit(&self, _: u32, operator: Operator, _: Option<Bytes>, _: &mut dyn FnMut(u64)) -> Submission {
        Submission::Answered(Ok(match operator {
            Operator::ModuleGetFunction { .. } => {
                let attributes = vec![Some(1); FunctionAttribute::ALL.len()];
                Value::Kernel(KernelInfo { attributes, ..KernelInfo::default() })
            }
            _ => Value::None,
        }))
    }

    fn wait(&self, _: u64) -> Outcome {
        Err(CuResult::DEVICE_UNAVAILABLE)
    }

    fn is_awaited(&self, _: u64) -> bool {
        false
    }

    fn lost(&self) -> Option<String> {
        None
    }

    fn statistics(&self) -> LinkStatistics {
        LinkStatistics::default()
    }

    fn replay_statistics(&self) -> ReplayStatistics {
        ReplayStatistics::default()
    }

    fn close(&self, _: Duration) {}
}
