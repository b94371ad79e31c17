//! Compiles the rate limits of routes, and checks that each can bite.

use std::sync::Arc;
use std::time::Duration;

use super::Compiler;
use crate::config::decode::{OneOrList, ShortOr, Spanned};
use crate::config::model::{RateKey, RateLimit};
use crate::config::raw::{RateKeyForm, RateKeySection, RateKeyWord, RateLimitSection};
use crate::rate_limit::Quota;

/// Keys remembered by default.
const KEYS: usize = 100_000;

/// A burst that takes longer to come back is a mistake.
const REFILL_MAX: Duration = Duration::from_hours(31 * 24);

impl Compiler<'_> {
    pub(super) fn rate_limits(
        &mut self,
        written: Option<&Spanned<OneOrList<RateLimitSection>>>,
    ) -> Arc<[RateLimit]> {
        let Some(written) = written else { return Arc::new([]) };
        if written.0.length == 0 {
            self.diagnostics.error(
                written.span,
                "this list has no limit",
                "write one, or remove `rate_limit`",
            );
        }
        let mut limits: Vec<RateLimit> = Vec::new();
        for section in written.0.iter() {
            let Some(limit) = self.rate_limit(section) else { continue };
            self.check_bites(section, &limit, &limits);
            limits.push(limit);
        }
        self.check_keys_of_clients(written, &limits);
        limits.into()
    }

    fn rate_limit(&mut self, section: &Spanned<RateLimitSection>) -> Option<RateLimit> {
        let by = self.rate_key(&section.by)?;
        let rate = section.rate.as_ref()?;
        let burst =
            section.burst.as_ref().map_or(rate.count, |burst| u32::try_from(burst.0).unwrap_or(u32::MAX));
        let quota = Quota::new(rate.count, rate.period, burst)?;
        if quota.refill() > REFILL_MAX {
            let days = quota.refill().as_secs() / 86_400;
            let span = section.burst.as_ref().map_or(rate.span, |burst| burst.span);
            let message = format!("at this rate, a burst of {burst} takes {days} days to come back");
            self.diagnostics.error(span, message, "write a smaller `burst`, or a higher `rate`");
        }
        if let (RateKey::Route, Some(table)) = (&by, &section.table) {
            let message = "`by: route` has one key";
            self.diagnostics.error(table.span, message, "remove `table`");
        }
        let keys = section.table.as_ref().map_or(KEYS, |keys| usize::try_from(keys.0).unwrap_or(usize::MAX));
        Some(RateLimit { quota, by, dry_run: section.dry_run.0, keys })
    }

    fn rate_key(&mut self, form: &Spanned<RateKeyForm>) -> Option<RateKey> {
        let section: &RateKeySection = match &form.value {
            ShortOr::Short(RateKeyWord::Client) => return Some(RateKey::Client),
            ShortOr::Short(RateKeyWord::Route) => return Some(RateKey::Route),
            ShortOr::Long(section) => section,
        };
        match (&section.header, &section.cookie) {
            (Some(header), None) => Some(RateKey::Header(header.0.clone())),
            (None, Some(cookie)) => Some(RateKey::Cookie(self.part_name(cookie)?.into())),
            _ if !section.complete => None,
            _ => {
                let remedy = "write one of `header` and `cookie`";
                self.diagnostics.error(form.span, "`by` has exactly one key", remedy);
                None
            }
        }
    }

    /// Refuses a limit that another one of the same requests always reaches first.
    fn check_bites(&mut self, section: &Spanned<RateLimitSection>, limit: &RateLimit, others: &[RateLimit]) {
        let same = others.iter().filter(|other| other.by == limit.by && other.dry_run == limit.dry_run);
        for other in same {
            if other.quota.is_within(&limit.quota) || limit.quota.is_within(&other.quota) {
                let message =
                    "of two limits by the same key, one has both the smaller rate and the smaller burst";
                self.diagnostics.error(section.span, message, "remove the wider one, which never bites");
            }
        }
    }

    /// Warns of limits whose keys clients choose, where nothing else limits a client.
    fn check_keys_of_clients(
        &mut self,
        written: &Spanned<OneOrList<RateLimitSection>>,
        limits: &[RateLimit],
    ) {
        let bounds_all =
            |limit: &RateLimit| matches!(limit.by, RateKey::Client | RateKey::Route) && !limit.dry_run;
        if limits.iter().any(bounds_all) {
            return;
        }
        for section in written.0.iter().filter(|section| !section.dry_run.0) {
            let name = match &section.by.value {
                ShortOr::Long(RateKeySection { header: Some(name), .. }) => format!("header `{}`", name.0),
                ShortOr::Long(RateKeySection { cookie: Some(name), .. }) => format!("cookie `{}`", name.0),
                _ => continue,
            };
            let message = format!("a client that changes the {name} with each request is not limited");
            let remedy = "add a limit `by: client` to the list";
            self.diagnostics.warn(section.by.span, message, remedy);
        }
    }
}
