use futures_util::future::join_all;

use super::*;
use crate::core::Settings;
use crate::core::settings::Ownership;
use crate::tests::{Bench, actor, name};

#[tokio::test]
async fn concurrent_changes_of_one_name_all_succeed() {
    let bench = Bench::new().await;
    let (operator, name) = (bench.control.operator(), name("links.customer.example"));
    let new = NewDomain {
        name: name.clone(),
        tenant: Some("acme".into()),
        sending_domain: None,
        records: None,
    };
    operator.register(new, &actor()).await.unwrap();
    let of_tenant = Actor {
        tenant: Some("acme".into()),
        ..actor()
    };
    let changes = (0..200).map(|n| {
        let (of_tenant, name) = (&of_tenant, &name);
        async move {
            if n % 20 == 0 {
                operator.verify(name, of_tenant).await?;
                return Ok::<_, OperatorError>(());
            }
            let patch = Patch {
                fallback_url: Some(Some(format!("https://customer.example/{n}"))),
                ..Patch::default()
            };
            operator.patch(name, patch, of_tenant).await.map(drop)
        }
    });
    let by_operator = actor();
    let pause = async {
        let patch = Patch {
            paused: Some(true),
            ..Patch::default()
        };
        operator.patch(&name, patch, &by_operator).await
    };
    let (changed, paused) = futures_util::join!(join_all(changes), pause);
    assert!(paused.expect("an operator's change").paused.is_some());
    for change in changed {
        change.expect("none is refused because of another one");
    }
    assert!(bench.control.core.is_idle());
}

#[tokio::test]
async fn the_quota_limits_tokens_of_one_tenant_only() {
    let bench = Bench::new().await;
    let (core, operator) = (&bench.control.core, bench.control.operator());
    let settings = Settings {
        ownership: Ownership::None,
        max_domains_per_tenant: Some(3),
        ..core.settings().as_ref().clone()
    };
    core.reload(settings, core.cas().as_ref().clone(), core.checker());
    let of_tenant = Actor {
        tenant: Some("acme".into()),
        ..actor()
    };
    let register = |n: usize, actor: Actor| {
        let new = NewDomain {
            name: name(&format!("links.c{n}.example")),
            tenant: Some("acme".into()),
            sending_domain: None,
            records: None,
        };
        async move { operator.register(new, &actor).await }
    };
    let at_once = join_all((0..20).map(|n| register(n, of_tenant.clone()))).await;
    let refused = at_once.iter().filter_map(|done| done.as_ref().err());
    let texts: Vec<_> = refused.map(ToString::to_string).collect();
    assert_eq!(texts.len(), 17);
    assert!(texts[0].contains("admission.max_domains_per_tenant"), "{}", texts[0]);
    let held = (0..20).find(|n| at_once[*n].is_ok()).expect("three are");
    let again = register(held, of_tenant.clone()).await;
    assert!(!again.expect("it is there already").created);
    let by_operator = register(20, actor()).await;
    assert!(by_operator.expect("operators are not limited").created);
    let other = Actor {
        tenant: Some("other".into()),
        ..actor()
    };
    let new = NewDomain {
        name: name("links.other.example"),
        tenant: None,
        sending_domain: None,
        records: None,
    };
    assert!(
        operator.register(new, &other).await.is_ok(),
        "each tenant has its own quota"
    );
}
