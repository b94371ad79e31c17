//! Compiles when endpoints are ejected.

use super::Compiler;
use crate::config::decode::{OrOff, Spanned};
use crate::config::model::{EndpointSpec, Outliers};
use crate::config::raw::OutliersSection;

impl Compiler<'_> {
    pub(super) fn outliers(
        &mut self,
        form: &Spanned<OrOff<OutliersSection>>,
        endpoints: &[EndpointSpec],
    ) -> Option<Outliers> {
        let section = form.as_option()?;
        let outliers = Outliers {
            failures: section.failures.as_option().map(|failures| failures.0 as u32),
            success_rate: section.success_rate.as_option().map(|rate| rate.0),
            latency: section.latency.as_option().map(|times| times.0 as u32),
            min_requests: section.min_requests.0,
            window: section.window.0,
            time: section.time.0,
            max_time: section.max_time.0,
            max_ejected: section.max_ejected.0,
        };
        self.check_outliers(form, section, &outliers, endpoints);
        Some(outliers)
    }

    /// Refuses ejections that can never happen.
    fn check_outliers(
        &mut self,
        form: &Spanned<OrOff<OutliersSection>>,
        section: &OutliersSection,
        outliers: &Outliers,
        endpoints: &[EndpointSpec],
    ) {
        if outliers.failures.is_none() && outliers.success_rate.is_none() && outliers.latency.is_none() {
            let message = "nothing is left that ejects an endpoint";
            self.diagnostics.error(form.span, message, "write `outliers: off`");
        }
        if outliers.max_ejected == 0.0 {
            let message = "no endpoint can be ejected";
            self.diagnostics.error(section.max_ejected.span, message, "write `outliers: off`");
        }
        if outliers.max_time < outliers.time {
            let (span, remedy) = match section.max_time.written {
                true => (section.max_time.span, "write a longer `max_time`, or a shorter `time`"),
                false => (section.time.span, "write a longer `max_time`, too"),
            };
            self.diagnostics.error(span, "the longest ejection is shorter than the first", remedy);
        }
        if form.written
            && endpoints.len() == 1
            && endpoints.iter().all(|endpoint| !endpoint.address.is_source())
        {
            let message = "the only endpoint of a pool is never ejected";
            self.diagnostics.warn(form.span, message, "add endpoints, or remove `outliers`");
        }
    }
}
