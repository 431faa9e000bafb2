//! Late writers and wrong clocks: what is written without permission, or too late, never counts.

use std::time::{Duration, Instant};

use holdfast_tests::agent::{Agent, AgentPlan, SOURCE};
use holdfast_tests::{Plan, Store, checksum, data, wait};
use nix::sys::signal::Signal;

const LONG: Duration = Duration::from_secs(120);

/// SIGSTOP between permission and PUT until both permission and lease are long gone, then SIGCONT.
fn stopped_between_permission_and_put(mut plan: Plan, rows: u32) {
    plan.timing.lease = 2;
    plan.timing.commit_window = 4;
    plan.timing.attempts = 5;
    let mut house = plan.start(|postgres| data::fill_bulk(postgres, rows));
    let live = checksum::rows(&house.postgres, data::AWKWARD);

    // 1. The agent works, asks for permission, and gets it; the answer is on its way when the agent stops.
    house.s3.limit(600_000);
    let begun = house.begin(&["backup", SOURCE]);
    house.ctl.wait_for_state(&begun.run, &["running"], LONG);
    house.coordinator.link().hold_answers();
    house.s3.limit(0);
    house.ctl.wait_for_state(&begun.run, &["committing"], LONG);
    house.agent.process().signal(Signal::SIGSTOP);
    house.coordinator.link().let_go();
    assert!(house.snapshots(true).is_empty());

    // 2. Permission and lease end; the coordinator means the run for the next epoch, which nobody takes up yet.
    let what = "the run to leave its first commit";
    wait::until_true(what, LONG, || {
        house.ctl.run_now(&begun.run)["state"] != "committing"
    });

    // 3. The agent wakes up with the permission in its hands.
    house.agent.process().signal(Signal::SIGCONT);
    let run = begun.run.clone();
    begun.answer().expect(0);
    let run = house.ctl.run_now(&run);
    assert!(run["epoch"].as_u64().unwrap() > 1, "{run:#}");

    // 4. One snapshot counts; a late one would be an orphan.
    let counted = house.snapshots(false);
    assert_eq!(counted.len(), 1, "{counted:#?}");
    assert_eq!(counted[0]["id"], run["result"]["snapshot_id"]);
    for snapshot in house.snapshots(true) {
        let is_counted = snapshot["id"] == counted[0]["id"];
        assert!(
            is_counted || snapshot["standing"] == "orphan",
            "{snapshot:#}"
        );
    }
    house.assert_whole(&live);
}

#[test]
fn stopped_between_permission_and_put_on_s3() {
    stopped_between_permission_and_put(Plan::new("stopped-s3"), 60_000);
}

#[test]
fn stopped_between_permission_and_put_in_a_folder() {
    // Nothing slows a folder down: the amount of data is what makes the run last.
    stopped_between_permission_and_put(
        Plan::new("stopped-folder").store(Store::Folder(None)),
        400_000,
    );
}

/// Two leases long the agent hears nothing: it goes on, and what it did counts once, whoever did it.
#[test]
fn an_agent_cut_off_while_it_dumps() {
    let mut plan = Plan::new("cut-off");
    plan.timing.lease = 3;
    plan.timing.attempts = 5;
    let house = plan.start(|postgres| data::fill_bulk(postgres, 100_000));
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house.s3.limit(600_000);
    let begun = house.begin(&["backup", SOURCE]);
    house.wait_until_reading(&begun.run);
    house.coordinator.link().hold();
    wait::until_true("the lease to lapse", LONG, || {
        let run = house.ctl.run_now(&begun.run);
        run["state"] == "queued" || run["epoch"].as_u64().unwrap() > 1
    });
    house.coordinator.link().let_go();
    house.s3.limit(0);
    begun.answer().expect(0);
    assert_eq!(house.snapshots(false).len(), 1);
    house.assert_whole(&live);
}

#[test]
fn a_clock_an_hour_ahead() {
    clock_is_off("clock-ahead", "+1h");
}

#[test]
fn a_clock_an_hour_behind() {
    clock_is_off("clock-behind", "-1h");
}

/// Either everything is signed by the server's time, or the run fails soon and says why.
fn clock_is_off(story: &'static str, clock: &str) {
    let mut plan = Plan::new(story);
    plan.agent.clock = Some(clock.to_owned());
    let house = plan.start(|postgres| data::fill_bulk(postgres, 5000));
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    let agents = house.ctl.json(&["agent", "list"]);
    let skew = agents["agents"][0]["clock_skew_millis"].as_i64().unwrap();
    assert!(
        (3_590_000..3_610_000).contains(&skew.abs()),
        "the coordinator sees the skew: {skew}"
    );

    let started = Instant::now();
    let answer = house.ctl.run(&["backup", SOURCE]);
    if answer.code == 0 {
        house.assert_whole(&live);
    } else {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{:?}",
            started.elapsed()
        );
        answer.expect(1).expect_says(&["clock"]);
        assert!(house.snapshots(true).is_empty());
    }
}

#[test]
fn a_clone_displaces_the_first_and_is_not_displaced_back() {
    let mut house = Plan::new("clone").start(|postgres| data::fill_bulk(postgres, 1000));
    let mut clone = house.agent.start_clone(house.folder());
    let status = house.agent.process().wait(LONG);
    assert_eq!(status.code(), Some(3), "{}", house.agent.process().log());
    assert!(
        house.agent.process().log().contains("displaced"),
        "{}",
        house.agent.process().log()
    );
    house.backup();
    clone.assert_running();
    let attention = house.ctl.json(&["status"])["attention"].to_string();
    assert!(attention.contains(house.agent.name()), "{attention}");
}

#[test]
fn a_revoked_agent_is_out_at_once() {
    let mut house = Plan::new("revoked").start(|postgres| data::fill_bulk(postgres, 60_000));
    house.s3.limit(400_000);
    let begun = house.begin(&["backup", SOURCE]);
    house.wait_until_reading(&begun.run);
    let answer = house
        .ctl
        .run(&["agent", "revoke", "db1", "--yes"])
        .expect(0);
    let told = format!("{}{}", answer.stdout, answer.stderr);
    assert!(
        told.to_lowercase().contains("key"),
        "says that static keys are to be rotated: {told}"
    );
    let status = house.agent.process().wait(LONG);
    assert_eq!(status.code(), Some(3), "{}", house.agent.process().log());
    let run = begun.run.clone();
    let _ = begun.answer();
    let state = house.ctl.wait_for_end(&run, LONG)["state"].clone();
    assert!(
        state == "cancelled" || state == "failed" || state == "lost",
        "{state}"
    );

    house.agent.start_again();
    let status = house.agent.process().wait(LONG);
    assert_eq!(
        status.code(),
        Some(3),
        "refused from then on: {}",
        house.agent.process().log()
    );
    house.s3.limit(0);
    assert!(house.snapshots(true).is_empty());
}

/// Another host takes over the databases: `--to AGENT/SOURCE`.
#[test]
fn another_agent_restores_what_this_one_saved() {
    let house = Plan::new("elsewhere").start(data::fill);
    let before = checksum::database(&house.postgres, data::AWKWARD);
    house.backup();
    let other = holdfast_tests::Postgres::start(house.folder(), "other", 15);
    let plan = AgentPlan {
        name: "db2".into(),
        source: "standby".into(),
        ..AgentPlan::default()
    };
    let _agent = Agent::start(house.folder(), &plan, &house.ctl, &other);
    house
        .restore(&["--to", "db2/standby", "--globals"])
        .expect(0);
    checksum::assert_equal(
        "on the other host",
        &before,
        &checksum::database(&other, data::AWKWARD),
    );
    house.assert_no_active_runs();
}
