//! Compiles the mirror of a route, and checks that its pool is another one.

use std::sync::Arc;

use super::Compiler;
use super::actions::Pools;
use crate::config::decode::Spanned;
use crate::config::model::{Action, Mirror};
use crate::config::raw::{MirrorSection, RouteSection};

impl Compiler<'_> {
    pub(super) fn mirror(&mut self, route: &RouteSection, pools: &Pools<'_>) -> Option<Arc<Mirror>> {
        let section = route.mirror.as_ref()?;
        let name = section.pool.as_ref()?;
        let pool = self.known_pool(name, pools)?;
        if section.share.0 == 0.0 {
            let message = "this share copies nothing";
            self.diagnostics.error(section.share.span, message, "write more, or remove `mirror`");
        }
        Some(Arc::new(Mirror {
            pool,
            share: section.share.0,
            methods: section.methods.iter().map(|method| method.value.clone()).collect(),
            body_bytes: section.body_size.0,
            requests: section.requests.0 as usize,
            timeout: section.timeout.0,
        }))
    }

    /// Refuses a pool that gets the requests themselves: it would do everything twice.
    pub(super) fn check_mirror(&mut self, section: Option<&Spanned<MirrorSection>>, action: &Action) {
        let Some(name) = section.and_then(|section| section.pool.as_ref()) else { return };
        if action.pools().any(|pool| **pool == *name.0.as_str()) {
            let message = format!("the pool `{}` gets the requests themselves", name.0.as_str());
            self.diagnostics.error(name.span, message, "write another pool, or remove `mirror`");
        }
    }
}
