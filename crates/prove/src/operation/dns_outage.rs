//! Upgrades, and reloads that rename a pool, while no name of an endpoint can be looked up.

use super::super::resolver::Resolver;
use super::super::settings::Form;
use super::super::subject::SubjectError;
use super::{Operator, Outcome};

impl Operator<'_> {
    /// The known addresses must go over to the successor, and to the renamed pool.
    pub(super) async fn dns_outage(&mut self, number: u64) -> Result<Outcome, SubjectError> {
        if self.resolver.is_none() {
            match Resolver::prepare(self.folder) {
                Ok(resolver) => self.resolver = Some(resolver),
                Err(why) => return Ok(Outcome::Skipped(why.into())),
            }
            self.settings.form = Form::Named(0);
            self.restart().await?;
        }
        self.resolve(Resolver::fail)?;
        let outcome = self.upgrade().await?;
        self.settings.form = Form::Named(number);
        self.reload().await?;
        self.resolve(Resolver::restore)?;
        Ok(outcome)
    }

    fn resolve(&self, how: impl Fn(&Resolver) -> std::io::Result<()>) -> Result<(), SubjectError> {
        self.resolver.as_ref().map_or(Ok(()), how).map_err(SubjectError::Files)
    }
}
