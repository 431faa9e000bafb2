//! Measures the logical method against its peers. `tests/bench/logical` builds and runs it.
//!
//! Our agent and restic read the same database, over the same pg_dump options, into the same S3 server, one after the
//! other. Processor time is that of the tools alone: pg_dump's is not counted on either side.

use std::process::Command;
use std::time::Instant;

use holdfast_tests::agent::SOURCE;
use holdfast_tests::data::AWKWARD;
use holdfast_tests::{House, Plan, Postgres, places, wait};

const USAGE: &str = "usage: bench-logical [--size 1G] [--quick]";
/// What a row takes up in a dump, about.
const ROW_BYTES: u64 = 215;

struct Options {
    bytes: u64,
    idle_seconds: u64,
}

fn main() {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            std::process::exit(2);
        }
    };
    println!("machine.sha_ni {} bool", u8::from(has_sha_ni()));

    let mut plan = Plan::new("bench");
    plan.agent.backup = String::new();
    plan.timing.lease = 60;
    plan.timing.deadline = "2h".into();
    plan.direct = true;
    let mut house = plan.start(|postgres| {
        postgres.sql("postgres", "CREATE DATABASE orders");
        fill(postgres, options.bytes, 1);
    });

    let dump = local_dump(&house);
    let ours = back_up(&mut house, &dump);
    let restic = back_up_with_restic(&house);
    figure(
        "logical.backup.cpu_vs_restic",
        ours.cpu / restic.cpu,
        "ratio",
    );
    figure(
        "logical.backup.wall_vs_restic",
        ours.wall / restic.wall,
        "ratio",
    );

    wait::let_pass(wait::seconds(options.idle_seconds));
    figure(
        "agent.idle_rss",
        mebibytes(house.agent.process().memory("VmRSS")),
        "MiB",
    );
    figure(
        "coordinator.idle_rss",
        mebibytes(house.coordinator.process().memory("VmRSS")),
        "MiB",
    );

    restore(&house, &dump);
    four_times_as_much(&mut house, options.bytes);
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        bytes: 1 << 30,
        idle_seconds: 60,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => {
                options = Options {
                    bytes: 48 << 20,
                    idle_seconds: 2,
                }
            }
            "--size" => options.bytes = size(&arguments.next().ok_or("--size needs a value")?)?,
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(options)
}

fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let factor = match unit {
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return Err(format!("{text}: write a number and M or G")),
    };
    number
        .parse::<u64>()
        .map(|number| number * factor)
        .map_err(|error| format!("{text}: {error}"))
}

fn figure(name: &str, value: f64, unit: &str) {
    println!("{name} {value:.3} {unit}");
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn has_sha_ni() -> bool {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpu.split_whitespace().any(|flag| flag == "sha_ni")
}

/// Rows as applications have them: numbers, times, words, and digests that do not compress.
fn fill(postgres: &Postgres, bytes: u64, seed: u32) {
    let rows = bytes / ROW_BYTES;
    postgres.sql(
        AWKWARD,
        &format!(
            "DROP TABLE IF EXISTS events;
             CREATE TABLE events (id bigint, at timestamptz, account int, kind text, token text, note text);
             INSERT INTO events SELECT i, '2025-01-01'::timestamptz + i * interval '1 second', hashint8(i * {seed}) % 100000,
                 (ARRAY['created','paid','shipped','returned'])[1 + i % 4], md5((i * {seed})::text) || md5((i + {seed})::text),
                 'the order of customer ' || i % 7919 || ' was handled by clerk ' || i % 101 || ' in warehouse ' || i % 13
             FROM generate_series(1::bigint, {rows}) i;
             ALTER TABLE events ADD PRIMARY KEY (id); CREATE INDEX ON events (account); ANALYZE;"
        ),
    );
    postgres.sql("postgres", "CHECKPOINT");
}

/// The peers' input for restores; also warms the page cache for everybody.
fn local_dump(house: &House) -> std::path::PathBuf {
    let path = house.folder().path("orders.dump");
    let status = house
        .postgres
        .client("pg_dump")
        .args(["-Fc", "-Z0", "-d", AWKWARD, "-f"])
        .arg(&path)
        .status();
    assert!(status.unwrap().success());
    path
}

struct Cost {
    cpu: f64,
    wall: f64,
}

fn back_up(house: &mut House, dump: &std::path::Path) -> Cost {
    let gigabytes = std::fs::metadata(dump).unwrap().len() as f64 / 1e9;
    figure("logical.dump.size", gigabytes, "GB");
    let before = house.agent.process().processor_seconds();
    let started = Instant::now();
    house.backup();
    let cost = Cost {
        wall: started.elapsed().as_secs_f64(),
        cpu: house.agent.process().processor_seconds() - before,
    };
    figure("logical.backup.cpu", cost.cpu, "s");
    figure("logical.backup.wall", cost.wall, "s");
    figure(
        "logical.agent.peak_rss",
        mebibytes(house.agent.process().memory("VmHWM")),
        "MiB",
    );
    cost
}

/// `pg_dump | restic backup --stdin`; bash times restic's side of the pipe.
fn back_up_with_restic(house: &House) -> Cost {
    let (server, bucket) = house.bucket();
    let mut restic = house.restic();
    restic.repository = format!("s3:http://127.0.0.1:{}/{bucket}/restic", server.port());
    restic.run(&["init"]);
    let script = r#"set -o pipefail
        "$1" -Fc -Z0 -d orders | { TIMEFORMAT='%U %S'; time "$2" backup --quiet --stdin --stdin-filename orders.dump; }"#;
    let mut command = Command::new("bash");
    command
        .args(["-c", script, "bench"])
        .arg(house.postgres.programs().join("pg_dump"))
        .arg(places::tool("restic", "restic"));
    command.envs(
        house
            .postgres
            .client("pg_dump")
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    command.envs(
        restic
            .command(&[])
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let started = Instant::now();
    let output = command.output().unwrap();
    let wall = started.elapsed().as_secs_f64();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "restic: {stderr}");
    let times = stderr.lines().last().unwrap_or_default();
    let cpu = times
        .split(' ')
        .map(|time| time.parse::<f64>().expect("a time"))
        .sum();
    figure("logical.restic.cpu", cpu, "s");
    figure("logical.restic.wall", wall, "s");
    Cost { cpu, wall }
}

fn restore(house: &House, dump: &std::path::Path) {
    let started = Instant::now();
    house
        .restore(&["--database", AWKWARD, "--into", "ours"])
        .expect(0);
    let ours = started.elapsed().as_secs_f64();
    house.postgres.sql("postgres", "DROP DATABASE ours");
    house.postgres.sql("postgres", "CHECKPOINT");

    let started = Instant::now();
    house
        .postgres
        .sql("postgres", "CREATE DATABASE theirs TEMPLATE template0");
    let status = house
        .postgres
        .client("pg_restore")
        .args(["-j1", "--exit-on-error", "-d", "theirs"])
        .arg(dump)
        .status();
    assert!(status.unwrap().success());
    house.postgres.sql("theirs", "ANALYZE");
    let theirs = started.elapsed().as_secs_f64();
    house.postgres.sql("postgres", "DROP DATABASE theirs");
    figure("logical.restore.wall", ours, "s");
    figure("logical.pg_restore.wall", theirs, "s");
    figure("logical.restore.wall_vs_pg_restore", ours / theirs, "ratio");
}

/// Peak memory once more, of a fresh agent, with data that the repository has not seen.
fn four_times_as_much(house: &mut House, bytes: u64) {
    fill(&house.postgres, 4 * bytes, 7919);
    house.agent.process().terminate(wait::seconds(30));
    house.agent.start_again();
    let operator = house.ctl.clone();
    house.agent.wait_until_connected(&operator);
    house.backup();
    figure(
        "logical.agent.peak_rss_at_4x",
        mebibytes(house.agent.process().memory("VmHWM")),
        "MiB",
    );
    let run = house.ctl.json(&["source", "show", SOURCE]);
    let read = run["latest"]["read_bytes"].as_u64().unwrap_or(0);
    figure("logical.dump.size_at_4x", read as f64 / 1e9, "GB");
}
