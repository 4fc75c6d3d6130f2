//! What the driver's private tables have to know of the server's driver.

use rrto_core::api::{CuResult, DeviceAttribute};
use rrto_core::operator::{MAX_TPCS, Operator, TpcPlace, Value};

use super::{Call, handles};
use crate::private_tables::NamedFunction;

impl Call<'_> {
    /// Whether the server's driver has a private table.
    ///
    /// # Errors
    /// What it answers where it has not.
    pub(crate) fn export_table(&self, uuid: [u8; 16]) -> Result<(), CuResult> {
        self.ask(Operator::ExportTable { uuid }, |answer| matches!(answer, Value::None).then_some(()))
    }

    /// Where each pair of multiprocessors is, as the server's driver says; made up where it does not.
    pub(crate) fn tpc_places(&self) -> Result<Vec<TpcPlace>, CuResult> {
        let told = self.ask(Operator::TpcPlaces, |answer| match answer {
            Value::TpcPlaces(places) => Some(places.clone()),
            _ => None,
        });
        match told {
            Err(CuResult::NOT_SUPPORTED) => {
                let multiprocessors = self.client.device.attribute(DeviceAttribute::MULTIPROCESSOR_COUNT);
                Ok(plain_places(multiprocessors.unwrap_or(0).try_into().unwrap_or(0)))
            }
            told => told,
        }
    }

    /// The functions of a module and their names, in the driver's order.
    pub(crate) fn named_functions(&self, module: usize) -> Result<Vec<NamedFunction>, CuResult> {
        let named = |function| {
            let function = handles::visible(function);
            Ok((function, self.client.kernel(function)?.1.shared_name()))
        };
        self.module_functions(module, u32::MAX)?.into_iter().map(named).collect()
    }
}

/// Places for so many multiprocessors: eight GPCs, as large GPUs have them, are filled in turn.
fn plain_places(multiprocessors: usize) -> Vec<TpcPlace> {
    const GPCS: usize = 8;
    let place = |at: usize| TpcPlace { gpc: (at % GPCS) as u8, index: (at / GPCS) as u8 };
    (0..multiprocessors.div_ceil(2).min(MAX_TPCS)).map(place).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_tpcs_are_in_one_place() {
        for multiprocessors in [0, 1, 2, 16, 132, 2 * MAX_TPCS, usize::MAX] {
            let places = plain_places(multiprocessors);
            assert_eq!(places.len(), multiprocessors.div_ceil(2).min(MAX_TPCS));
            let distinct: HashSet<_> = places.iter().map(|place| (place.gpc, place.index)).collect();
            assert_eq!(distinct.len(), places.len());
        }
    }
}
