//! Every input in every phase, and the stories that matter.

use holdfast_proto::ids::{Epoch, RunId};

use super::*;

const LONG: Duration = Duration::from_secs(1_000_000);

fn limits() -> Limits {
    Limits {
        deadline: None,
        grant: GrantTimes::ENDLESS,
    }
}

fn waiting() -> Life {
    let key = RunEpoch {
        run: RunId::new(),
        epoch: Epoch(1),
    };
    Life::new(key, limits())
}

fn question() -> Question {
    Question {
        snapshot_id: "ab".repeat(32),
        snapshot_bytes: 300,
    }
}

fn permit(seconds: u64) -> Input {
    Input::Decided(Decision {
        permitted: true,
        valid_for: Duration::from_secs(seconds),
        reason: String::new(),
    })
}

fn refuse() -> Input {
    Input::Decided(Decision {
        permitted: false,
        valid_for: Duration::ZERO,
        reason: "cancelled".into(),
    })
}

fn done() -> v1::RunResult {
    v1::RunResult {
        result: Some(v1::run_result::Result::Backup(v1::BackupResult::default())),
    }
}

fn failed() -> Input {
    Input::Ended(Err(v1::Failure {
        message: "pg_dump died".into(),
        ..Default::default()
    }))
}

fn cancelled() -> Input {
    Input::Stop(Stop::Cancelled { by: "anna".into() })
}

fn lease_lost() -> Input {
    Input::Stop(Stop::LeaseLost {
        reason: "epoch 2".into(),
    })
}

/// A life brought into each phase.
fn phases(now: Instant) -> Vec<Life> {
    let steps = [
        Input::Begin,
        Input::Ask(question()),
        permit(60),
        Input::Ended(Ok(done())),
    ];
    let mut life = waiting();
    let mut all = vec![life.clone()];
    for step in steps {
        life.on(step, now);
        all.push(life.clone());
    }
    all
}

fn phase_word(life: &Life) -> &'static str {
    match life.phase() {
        Phase::Waiting => "waiting",
        Phase::Working => "working",
        Phase::Asking { .. } => "asking",
        Phase::Permitted => "permitted",
        Phase::Finished { .. } => "finished",
    }
}

fn effect_words(effects: &[Effect]) -> Vec<&'static str> {
    let word = |effect: &Effect| match effect {
        Effect::Send(Message::RunStarted(_)) => "started",
        Effect::Send(Message::CommitRequest(_)) => "ask",
        Effect::Send(Message::RunFinished(_)) => "result",
        Effect::Send(Message::GrantRequest(_)) => "grant",
        Effect::Send(_) => "other",
        Effect::CancelWork => "cancel",
        Effect::Answer(Ok(_)) => "permit",
        Effect::Answer(Err(_)) => "refuse",
        Effect::Forget => "forget",
    };
    effects.iter().map(word).collect()
}

/// For each input: (phase before, phase after, effects), one line a phase.
#[test]
fn every_input_in_every_phase() {
    let now = Instant::now();
    type Row = (&'static str, &'static str);
    let table: Vec<(Input, [Row; 5])> = vec![
        (
            Input::Begin,
            [
                ("working", "started"),
                ("working", ""),
                ("asking", ""),
                ("permitted", ""),
                ("finished", ""),
            ],
        ),
        (
            Input::Ask(question()),
            [
                ("waiting", ""),
                ("asking", "ask"),
                ("asking", ""),
                ("permitted", ""),
                ("finished", ""),
            ],
        ),
        (
            permit(60),
            [
                ("waiting", ""),
                ("working", ""),
                ("permitted", "permit"),
                ("permitted", ""),
                ("finished", ""),
            ],
        ),
        (
            refuse(),
            [
                ("waiting", ""),
                ("working", ""),
                ("working", "refuse"),
                ("permitted", ""),
                ("finished", ""),
            ],
        ),
        (
            cancelled(),
            [
                ("finished", "result"),
                ("working", "cancel"),
                ("asking", "cancel"),
                ("permitted", ""),
                ("finished", ""),
            ],
        ),
        (
            lease_lost(),
            [
                ("waiting", "forget"),
                ("working", "cancel"),
                ("asking", "cancel"),
                ("permitted", "cancel"),
                ("finished", ""),
            ],
        ),
        (
            failed(),
            [
                ("finished", "result"),
                ("finished", "result"),
                ("finished", "result"),
                ("finished", "result"),
                ("finished", ""),
            ],
        ),
        (
            Input::LinkUp { kept: true },
            [
                ("waiting", ""),
                ("working", "started"),
                ("asking", "started ask"),
                ("permitted", ""),
                ("finished", "result"),
            ],
        ),
        (
            Input::LinkUp { kept: false },
            [
                ("waiting", "forget"),
                ("working", "cancel"),
                ("asking", "cancel"),
                ("permitted", "cancel"),
                ("finished", "result"),
            ],
        ),
        (
            Input::Acknowledged,
            [
                ("waiting", "forget"),
                ("working", "cancel"),
                ("asking", "cancel"),
                ("permitted", "cancel"),
                ("finished", "forget"),
            ],
        ),
        (
            Input::Tick,
            [
                ("waiting", ""),
                ("working", ""),
                ("asking", ""),
                ("permitted", ""),
                ("finished", ""),
            ],
        ),
    ];
    for (input, rows) in table {
        for (mut life, (after, effects)) in phases(now).into_iter().zip(rows) {
            let before = phase_word(&life);
            let got = effect_words(&life.on(input.clone(), now)).join(" ");
            assert_eq!(
                (phase_word(&life), got.as_str()),
                (after, effects),
                "{input:?} while {before}"
            );
        }
    }
}

#[test]
fn the_permission_counts_from_the_last_time_the_question_was_put() {
    let start = Instant::now();
    let mut life = waiting();
    life.on(Input::Begin, start);
    life.on(Input::Ask(question()), start);
    // The coordinator was away for five minutes; the question was put again over the new link.
    let again = start + Duration::from_secs(300);
    life.on(Input::LinkUp { kept: true }, again);
    // The answer was slow.
    let effects = life.on(permit(60), again + Duration::from_secs(50));
    let until = again + Duration::from_secs(60);
    assert_eq!(effects, [Effect::Answer(Ok(Permission { until }))]);
}

#[test]
fn a_stop_ends_the_work_and_not_the_truth() {
    let now = Instant::now();
    // Cancelled, but it was too late for that: done.
    let mut life = phases(now).remove(1);
    life.on(cancelled(), now);
    life.on(Input::Ended(Ok(done())), now);
    assert!(matches!(life.phase(), Phase::Finished { result, .. } if *result == done()));
    // Cancelled, and ended by it: the operator's name, not the error the cancel caused.
    let mut life = phases(now).remove(1);
    life.on(cancelled(), now);
    life.on(failed(), now);
    let Phase::Finished { result, .. } = life.phase() else {
        panic!("{life:?}")
    };
    let by = v1::run_result::Result::CancelledBy("anna".into());
    assert_eq!(result.result, Some(by));
}

#[test]
fn a_lost_lease_is_silent_unless_there_is_an_orphan_to_tell_of() {
    let now = Instant::now();
    let mut life = phases(now).remove(3);
    life.on(lease_lost(), now);
    assert_eq!(life.named(), None);
    assert_eq!(effect_words(&life.clone().on(failed(), now)), ["forget"]);
    assert_eq!(
        effect_words(&life.on(Input::Ended(Ok(done())), now)),
        ["result"]
    );
    assert!(life.named().is_some());
}

#[test]
fn the_first_reason_to_stop_wins() {
    let now = Instant::now();
    let mut life = phases(now).remove(1);
    life.on(cancelled(), now);
    assert!(life.on(Input::Stop(Stop::Shutdown), now).is_empty());
    assert!(matches!(life.stop(), Some(Stop::Cancelled { .. })));
}

#[test]
fn a_grant_is_renewed_at_half_its_life_and_ends_the_run_without_a_new_one() {
    let now = Instant::now();
    let hour = Duration::from_secs(3600);
    let mut life = waiting();
    life.limits.grant = GrantTimes::lasting(hour, now);
    life.on(Input::Begin, now);
    assert_eq!(life.wakes_at(), Some(now + hour / 2));
    assert!(life.on(Input::Tick, now + hour / 3).is_empty());
    assert_eq!(
        effect_words(&life.on(Input::Tick, now + hour / 2)),
        ["grant"]
    );
    // Not answered: asked again, and at once over a new link.
    let again = life.wakes_at().expect("a repetition");
    assert!(again > now + hour / 2 && again <= now + hour / 2 + Duration::from_secs(60));
    assert_eq!(
        effect_words(&life.clone().on(Input::Tick, again)),
        ["grant"]
    );
    assert_eq!(
        effect_words(&life.clone().on(Input::Tick, now + hour)),
        ["cancel"]
    );
    life.on(Input::Granted(GrantTimes::lasting(hour, again)), again);
    assert_eq!(life.wakes_at(), Some(again + hour / 2));
}

#[test]
fn a_run_that_waits_for_its_permission_ends_with_its_grant() {
    let now = Instant::now();
    let mut life = phases(now).remove(2);
    life.limits.grant = GrantTimes::lasting(Duration::from_secs(10), now);
    assert_eq!(
        effect_words(&life.on(Input::Tick, now + Duration::from_secs(10))),
        ["cancel"]
    );
    life.on(failed(), now);
    let Phase::Finished { result, .. } = life.phase() else {
        panic!("{life:?}")
    };
    let Some(v1::run_result::Result::Failure(failure)) = &result.result else {
        panic!("{result:?}")
    };
    assert_eq!(failure.class(), v1::FailureClass::Retryable);
    assert!(failure.message.contains("credentials"), "{failure:?}");
}

#[test]
fn a_deadline_ends_the_run_but_not_a_commit_that_was_begun() {
    let now = Instant::now();
    let all = phases(now);
    for (mut life, expected) in all.into_iter().zip(["result", "cancel", "cancel", ""]) {
        life.limits.deadline = Some(now + Duration::from_secs(5));
        let before = phase_word(&life);
        let effects = life.on(Input::Tick, now + Duration::from_secs(5));
        assert_eq!(effect_words(&effects).join(" "), expected, "{before}");
    }
}

#[test]
fn a_result_is_sent_again_until_it_is_acknowledged() {
    let now = Instant::now();
    let mut life = phases(now).remove(4);
    for round in 1..4 {
        let at = now + RESEND_RESULT_AFTER * round;
        assert_eq!(life.wakes_at(), Some(at));
        assert_eq!(effect_words(&life.on(Input::Tick, at)), ["result"]);
    }
    assert_eq!(life.on(Input::Acknowledged, now + LONG), [Effect::Forget]);
}

#[test]
fn runs_are_named_with_their_state() {
    let states: Vec<_> = phases(Instant::now())
        .iter()
        .map(|life| life.named().expect("named").state())
        .collect();
    use v1::RunState as S;
    assert_eq!(
        states,
        [
            S::Assigned,
            S::Running,
            S::Running,
            S::Committing,
            S::Succeeded
        ]
    );
}
