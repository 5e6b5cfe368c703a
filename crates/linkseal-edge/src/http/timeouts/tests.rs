use std::time::Instant;

use super::*;

const TICK: Duration = Duration::from_secs(5);

fn limits() -> Timeouts {
    Timeouts {
        tick: TICK,
        headers: TICK * 2,
        idle: TICK * 4,
        stall: TICK * 3,
        ..Timeouts::default()
    }
}

/// How many ticks until the verdict is not `Fine`, and the verdict.
fn until(watch: &mut Watch, activity: &Activity) -> (u32, Verdict) {
    for tick in 1..100 {
        match watch.look(activity, watch.long_tick(), 0) {
            Verdict::Fine => {}
            found => return (tick, found),
        }
    }
    (100, Verdict::Fine)
}

#[test]
fn a_silent_or_slow_client_gets_the_headers_limit() {
    let activity = Activity::default();
    assert_eq!(until(&mut Watch::new(limits(), false), &activity), (2, Verdict::Stuck));
    let mut watch = Watch::new(limits(), false);
    for _ in 0..1 {
        activity.moved();
        assert_eq!(watch.look(&activity, watch.long_tick(), 0), Verdict::Fine);
    }
    activity.moved();
    assert_eq!(watch.look(&activity, watch.long_tick(), 0), Verdict::Stuck);
}

#[test]
fn an_idle_connection_closes_in_order_and_a_half_request_does_not_keep_it() {
    let activity = Activity::default();
    let mut watch = Watch::new(limits(), false);
    activity.request_began(Instant::now());
    activity.request_ended();
    assert_eq!(watch.look(&activity, watch.long_tick(), 0), Verdict::Fine);
    assert_eq!(until(&mut watch, &activity), (4, Verdict::Idle));
    assert_eq!(until(&mut watch, &activity), (2, Verdict::Stuck));

    let mut watch = Watch::new(limits(), false);
    activity.request_began(Instant::now());
    activity.request_ended();
    assert_eq!(watch.look(&activity, watch.long_tick(), 0), Verdict::Fine);
    for _ in 0..3 {
        assert_eq!(watch.look(&activity, watch.long_tick(), 0), Verdict::Fine);
    }
    // The first tick sees the beginning: the request has its whole time from there.
    activity.bytes_came();
    assert_eq!(until(&mut watch, &activity), (3, Verdict::Stuck));

    let mut multiplexed = Watch::new(limits(), true);
    activity.request_began(Instant::now());
    activity.request_ended();
    assert_eq!(multiplexed.look(&activity, multiplexed.long_tick(), 0), Verdict::Fine);
    activity.bytes_came();
    assert_eq!(until(&mut multiplexed, &activity), (4, Verdict::Idle));
}

#[test]
fn a_request_may_take_long_while_there_is_progress() {
    let activity = Activity::default();
    let mut watch = Watch::new(limits(), false);
    activity.request_began(Instant::now());
    for _ in 0..50 {
        activity.moved();
        assert_eq!(watch.look(&activity, watch.long_tick(), 0), Verdict::Fine);
    }
    assert_eq!(until(&mut watch, &activity), (3, Verdict::Stuck));
}

#[test]
fn waiting_for_a_back_end_does_not_time_out() {
    let activity = Activity::default();
    let mut watch = Watch::new(limits(), false);
    activity.request_began(Instant::now());
    activity.backend_wait_began();
    assert_eq!(until(&mut watch, &activity), (100, Verdict::Fine));
    activity.body_began();
    activity.request_ended();
    activity.backend_wait_ended();
    assert_eq!(
        until(&mut watch, &activity),
        (3, Verdict::Stuck),
        "now the client does not read"
    );
}

#[test]
fn under_pressure_the_longest_idle_go_first() {
    let ticks = |fullness: u8, partial: bool| {
        let (activity, mut watch) = (
            Activity::default(),
            Watch::new(
                Timeouts {
                    idle: TICK * 20,
                    headers: TICK * 4,
                    ..limits()
                },
                false,
            ),
        );
        if !partial {
            activity.request_began(Instant::now());
            activity.request_ended();
            assert_eq!(watch.look(&activity, watch.long_tick(), fullness), Verdict::Fine);
        }
        (1..100)
            .find(|_| watch.look(&activity, watch.long_tick(), fullness) != Verdict::Fine)
            .unwrap()
    };
    for (fullness, idle, head) in [
        (0, 20, 4),
        (90, 20, 4),
        (95, 10, 2),
        (99, 2, 1),
        (100, 1, 1),
        (120, 1, 1),
    ] {
        assert_eq!(
            (ticks(fullness, false), ticks(fullness, true)),
            (idle, head),
            "{fullness} %"
        );
    }
}

#[test]
fn a_closing_connection_has_a_moment_left_however_long_it_was_idle() {
    let activity = Activity::default();
    let mut watch = Watch::new(limits(), true);
    activity.request_began(Instant::now());
    activity.request_ended();
    for _ in 0..4 {
        assert_eq!(watch.look(&activity, watch.long_tick(), 0), Verdict::Fine);
    }
    watch.closing();
    let farewell = limits().farewell;
    assert_eq!(watch.long_tick(), farewell / 2);
    assert_eq!(
        until(&mut watch, &activity),
        (2, Verdict::Stuck),
        "one to two seconds, not fifteen"
    );
    // A request in progress is not cut.
    activity.request_began(Instant::now());
    activity.backend_wait_began();
    assert_eq!(until(&mut watch, &activity), (100, Verdict::Fine));
}
