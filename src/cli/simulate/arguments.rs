//! Parsers for the arguments of `linkseal simulate`.

use std::str::FromStr;
use std::time::Duration;

use linkseal_config::ConfigDuration;
use linkseal_config::acme::Limits;

use super::Args;
use crate::simulate::{Move, MoveTo, Onboarding, Window};

/// The shortest lifetime: the scheduler's rounds are too far apart for a shorter one.
const SHORTEST_LIFE: Duration = Duration::from_secs(3_600);

/// `45d`, or `90d,45d@60d`: 45 days from day 60 on.
#[derive(Clone, Debug)]
pub(super) struct Lifetimes(pub(super) Vec<(Duration, Duration)>);

impl FromStr for Lifetimes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const ALLOWED: &str = "must be a lifetime of at least an hour, such as 45d or 160h; or several, each but the \
                               first with the time from which it applies, counted from the start: 90d,64d@60d,45d@120d";
        let mut all: Vec<(Duration, Duration)> = Vec::new();
        for part in text.split(',') {
            let (life, from) = match part.split_once('@') {
                Some((life, from)) => (life, span(from).ok_or(ALLOWED)?),
                None if all.is_empty() => (part, Duration::ZERO),
                None => return Err(ALLOWED.to_owned()),
            };
            let life = span(life).filter(|life| *life >= SHORTEST_LIFE).ok_or(ALLOWED)?;
            let grows = all.last().is_none_or(|(before, _)| *before < from);
            if !grows || (all.is_empty() && !from.is_zero()) {
                return Err(ALLOWED.to_owned());
            }
            all.push((from, life));
        }
        Ok(Self(all))
    }
}

fn span(text: &str) -> Option<Duration> {
    text.trim().parse::<ConfigDuration>().ok().map(ConfigDuration::get)
}

pub(super) fn onboarding(text: &str) -> Result<Onboarding, String> {
    match text {
        "import" => Ok(Onboarding::Import),
        "running" => Ok(Onboarding::Running),
        _ => match text.parse() {
            Ok(count @ 1..=1_000_000) => Ok(Onboarding::PerDay(count)),
            _ => Err("must be import, running, or a number of domains per day (1 to 1000000)".to_owned()),
        },
    }
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    text.strip_suffix('%')
        .and_then(|number| number.parse::<f64>().ok())
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "must be a share from 0% to 100%, such as 2% or 0.5%".to_owned())
}

pub(super) fn share_at(text: &str) -> Result<(f64, Duration), String> {
    text.split_once('@')
        .and_then(|(of, at)| Some((share(of).ok()?, span(at)?)))
        .ok_or_else(|| "must be a share and a time, counted from the start of the replay, such as 20%@30d".to_owned())
}

/// The moves of renewal windows, by time.
pub(super) fn moves(args: &Args) -> Vec<Move> {
    let to = |to| move |&(share, at): &(f64, Duration)| Move { at, share, to };
    let past = args.ari_past.iter().map(to(MoveTo::Past));
    let mut moves: Vec<_> = past
        .chain(args.ari_beyond.iter().map(to(MoveTo::BeyondExpiry)))
        .collect();
    moves.sort_by_key(|m| m.at);
    moves
}

pub(super) fn window(text: &str) -> Result<Window, String> {
    text.split_once('+')
        .and_then(|(from, length)| {
            Some(Window {
                from: span(from)?,
                length: span(length).filter(|l| !l.is_zero())?,
            })
        })
        .ok_or_else(|| "must be start and length, counted from the start of the replay, such as 10d+6h".to_owned())
}

/// The configured limits with the changes in `text`, which is written as in the configuration.
pub(super) fn changed_limits(configured: &Limits, text: &str) -> Result<Limits, String> {
    let inner = text.trim();
    let inner = inner
        .strip_prefix('{')
        .and_then(|t| t.strip_suffix('}'))
        .unwrap_or(inner);
    let bad = |error: toml::de::Error| {
        format!(
            "{}; allowed: orders_per_account, per_registered_domain and failed_per_name, each a count per time: \
             'orders_per_account = \"300/3h\", failed_per_name = \"5/1h\"'",
            error.message()
        )
    };
    #[derive(serde::Deserialize)]
    struct Wrapped {
        limits: toml::Table,
    }
    let Wrapped { limits: changes } = toml::from_str(&format!("limits = {{ {inner} }}")).map_err(bad)?;
    let mut all = toml::Table::try_from(configured).map_err(|e| e.to_string())?;
    all.extend(changes);
    all.try_into().map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::DAY;

    #[test]
    fn only_valid_arguments_parse() {
        let lifetimes = |text: &str| text.parse::<Lifetimes>().map(|l| l.0);
        assert_eq!(lifetimes("45d"), Ok(vec![(Duration::ZERO, DAY * 45)]));
        assert_eq!(
            lifetimes("90d,64d@60d"),
            Ok(vec![(Duration::ZERO, DAY * 90), (DAY * 60, DAY * 64)])
        );
        for bad in [
            "",
            "45",
            "1m",
            "90d@5d",
            "90d,45d",
            "90d,64d@9d,45d@9d",
            "90d,64d@60d@2d",
        ] {
            assert!(lifetimes(bad).is_err(), "{bad}");
        }
        assert_eq!(share("2.5%"), Ok(0.025));
        assert!(["2", "-1%", "101%", "NaN%", "%"].iter().all(|t| share(t).is_err()));
        assert_eq!(onboarding("500"), Ok(Onboarding::PerDay(500)));
        assert!(["0", "some", "-1"].iter().all(|t| onboarding(t).is_err()));
        assert_eq!(
            window("10d+6h"),
            Ok(Window {
                from: DAY * 10,
                length: DAY / 4
            })
        );
        assert_eq!(share_at("20%@30d"), Ok((0.2, DAY * 30)));
        assert!(["20%", "20@30d", "20%@", "20%@x"].iter().all(|t| share_at(t).is_err()));
        assert!(["10d", "10d+", "10d+0s", "a+b"].iter().all(|t| window(t).is_err()));
    }

    #[test]
    fn limits_are_written_as_in_the_configuration() {
        let standard = Limits::default();
        let changed = changed_limits(&standard, "orders_per_account = \"1000/3h\"").unwrap();
        assert_eq!(changed.orders_per_account.count, 1000);
        assert_eq!(changed.failed_per_name, standard.failed_per_name);
        assert_eq!(changed_limits(&standard, "{ }").unwrap(), standard);
        for bad in [
            "orders = \"1/1h\"",
            "orders_per_account = 5",
            "orders_per_account",
            "failed_per_name = \"0/1h\"",
        ] {
            let error = changed_limits(&standard, bad).unwrap_err();
            assert!(error.contains("orders_per_account = \"300/3h\""), "{error}");
        }
    }
}
