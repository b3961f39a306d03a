//! `Identity(x)` is `x`.
//!
//! It stays where it is there for an output's name alone: the name of an input, of a value outside of the body, or of
//! another output cannot be that of this output, too.

use crate::ir::OpKind::Identity;
use crate::ir::{Origin, User};
use crate::rewrite::{Exactness, Rule, applies, var};

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("drop-identity", Exactness::Bitwise, Identity.of(x), move |m| {
        let (graph, root) = (m.graph(), m.root());
        let (from, scope) = (graph.value(m[x]), root.node().scope());
        let named = from.scope() != scope
            || from.origin() == Origin::Input
            || from.users().iter().any(|user| matches!(user, User::Output(at, _) if *at == scope));
        let result = graph.result(root.id(), 0);
        let only_named = result.is_some_and(|v| graph.value(v).users().iter().all(|u| matches!(u, User::Output(..))));
        applies(!(named && only_named))?;
        Ok(m[x])
    })
}
