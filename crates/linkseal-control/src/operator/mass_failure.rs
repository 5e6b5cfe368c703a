//! The mass-failure guard, as operators see it.

use serde_json::{Value, json};

use super::{Operator, OperatorError};
use crate::checks::mass_failure::MassFailure;
use crate::core::Actor;

impl Operator {
    /// The state of this node's mass-failure guard.
    pub fn mass_failure(&self) -> MassFailure {
        self.schedule.checks.mass_failure.state()
    }

    /// Confirms that the failures are real: they are recorded for an hour, whatever their number.
    pub async fn end_mass_failure_hold(&self, actor: &Actor) -> Result<(), OperatorError> {
        let before = self.mass_failure();
        let before = json!({"since": before.since, "turned": before.failed, "doubted": before.suppressed});
        let audit = self.audit_entry(actor, "trust", "mass_failure", before, Value::Null);
        self.core.store.append_audit(audit).await?;
        self.schedule.checks.mass_failure.trust(self.core.clock.now());
        tracing::warn!(
            by = actor.who,
            "mass-failure guard ended by an operator; all failures are recorded for an hour"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use linkseal_base::testing::Written;
    use tracing::level_filters::LevelFilter;

    use crate::tests::{Bench, actor};

    #[tokio::test]
    async fn the_end_by_an_operator_is_logged() {
        let bench = Bench::new().await;
        let written = Written::default();
        let _logs = written.capture(LevelFilter::INFO);
        bench.control.operator().end_mass_failure_hold(&actor()).await.unwrap();
        let text = written.text();
        assert!(text.contains("mass-failure guard ended by an operator"), "{text}");
    }
}
