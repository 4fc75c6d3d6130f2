//! Which handles end with which operator.

use std::collections::HashMap;

use crate::operator::{Handle, Operator};

/// What each kernel and module came from, as long as that is loaded.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// A kernel's module or library; a module's library.
    of: HashMap<Handle, Handle>,
}

impl Owners {
    /// Notes what an operator makes; gives the handles that it ends.
    pub(super) fn handle_operator(&mut self, operator: &Operator) -> Vec<Handle> {
        match operator {
            Operator::ModuleGetFunction { module: owner, function: made, .. }
            | Operator::LibraryGetKernel { library: owner, function: made, .. }
            | Operator::LibraryGetModule { library: owner, module: made } => {
                self.of.insert(*made, *owner);
                Vec::new()
            }
            Operator::StreamDestroy { stream: ended } | Operator::EventDestroy { event: ended } => {
                vec![*ended]
            }
            Operator::ModuleUnload { module: owner } | Operator::LibraryUnload { library: owner } => {
                self.end(*owner)
            }
            _ => Vec::new(),
        }
    }

    /// Everything that came from `owner`, and from that.
    fn end(&mut self, owner: Handle) -> Vec<Handle> {
        let mut ended = vec![owner];
        let mut next = 0;
        while let Some(owner) = ended.get(next).copied() {
            ended.extend(self.of.extract_if(|_, of| *of == owner).map(|(made, _)| made));
            next += 1;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_ends_with_its_kernels_and_those_of_its_module() {
        let [library, module, other] = [Handle(1), Handle(2), Handle(3)];
        let function =
            |module, function| Operator::ModuleGetFunction { module, name: String::new(), function };
        let mut owners = Owners::default();
        owners.handle_operator(&Operator::LibraryGetModule { library, module });
        owners.handle_operator(&function(module, Handle(10)));
        owners.handle_operator(&function(other, Handle(11)));
        let kernel = Operator::LibraryGetKernel { library, name: String::new(), function: Handle(12) };
        owners.handle_operator(&kernel);
        let mut ended = owners.handle_operator(&Operator::LibraryUnload { library });
        ended.sort_unstable();
        assert_eq!(ended, [library, module, Handle(10), Handle(12)]);
        assert_eq!(owners.handle_operator(&Operator::ModuleUnload { module: other }), [other, Handle(11)]);
    }
}
