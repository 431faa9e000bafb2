//! How a run looks while it goes on: a bar on a terminal, plain lines elsewhere, one JSON line an event for scripts.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use holdfast_proto::v1::{self, run_event::Event};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::exit::CommandError;
use crate::output::human::{clean, duration, size, time};
use crate::output::result::subject;
use crate::output::view::{ProgressView, RunView, state};
use crate::output::{Output, note};

/// Without a terminal a line of progress comes at each new phase, and otherwise this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

enum Face {
    Json,
    Bar(ProgressBar),
    Plain { phase: String, said_at: Instant },
}

/// Shows the runs one command waits for.
pub struct Display {
    output: Output,
    face: Face,
}

impl Display {
    /// The face that fits where the output goes.
    pub fn new(output: Output) -> Self {
        let face = if output.is_json() {
            Face::Json
        } else if std::io::stderr().is_terminal() {
            Face::Bar(bar())
        } else {
            Face::Plain {
                phase: String::new(),
                said_at: Instant::now(),
            }
        };
        Self { output, face }
    }

    /// The run has been accepted.
    pub fn started(&mut self, run: &v1::Run, safety: Option<&v1::Run>) -> Result<(), CommandError> {
        if let Face::Json = self.face {
            return self.output.json(&json!({
                "event": "started",
                "run": RunView::from(run),
                "safety_run": safety.map(RunView::from),
            }));
        }
        if let Some(safety) = safety {
            self.note(&format!("a safety backup comes first: run {}", safety.id));
        }
        self.note(&format!("started {}", subject(run)));
        Ok(())
    }

    /// The operator does not wait.
    pub fn detached(&mut self, run: &v1::Run) -> Result<(), CommandError> {
        self.pause();
        match self.face {
            Face::Json => Ok(()),
            _ => self.output.line(&run.id),
        }
    }

    /// Something happened.
    pub fn event(&mut self, run_id: &str, event: &v1::RunEvent) -> Result<(), CommandError> {
        if let Face::Json = self.face {
            return self.json_event(run_id, event);
        }
        match &event.event {
            Some(Event::State(value)) => self.state(*value, event.epoch),
            Some(Event::Progress(progress)) => self.progress(progress),
            Some(Event::Log(line)) => self.note(&log_line(line)),
            Some(Event::Ended(_)) | None => {}
        }
        Ok(())
    }

    /// The run has ended.
    pub fn ended(&mut self, run: &v1::Run) -> Result<(), CommandError> {
        self.pause();
        match self.face {
            Face::Json => self
                .output
                .json(&json!({ "event": "ended", "run": RunView::from(run) })),
            _ => Ok(()),
        }
    }

    /// A line beside the run.
    pub fn note(&mut self, text: &str) {
        match &self.face {
            Face::Bar(bar) => bar.suspend(|| note(text)),
            Face::Plain { .. } => note(text),
            Face::Json => tracing::info!("{text}"),
        }
    }

    /// Takes the bar off the terminal; the next progress draws it again.
    pub fn pause(&mut self) {
        if let Face::Bar(bar) = &mut self.face {
            bar.finish_and_clear();
            *bar = self::bar();
        }
    }

    fn state(&mut self, value: i32, epoch: u64) {
        let word = state(value);
        match &self.face {
            Face::Bar(bar) => {
                bar.enable_steady_tick(Duration::from_millis(200));
                bar.set_message(word);
            }
            _ if epoch > 1 && word == "assigned" => note(&format!("{word} (hand-out {epoch})")),
            _ => note(word),
        }
    }

    fn progress(&mut self, progress: &v1::Progress) {
        match &mut self.face {
            Face::Bar(bar) => draw(bar, progress),
            Face::Plain { phase, said_at } => {
                if *phase != progress.phase || said_at.elapsed() >= PLAIN_INTERVAL {
                    note(&progress_line(progress));
                    progress.phase.clone_into(phase);
                    *said_at = Instant::now();
                }
            }
            Face::Json => {}
        }
    }

    fn json_event(&self, run_id: &str, event: &v1::RunEvent) -> Result<(), CommandError> {
        let at = time(event.time_micros);
        let head = |name: &str| json!({ "event": name, "run_id": run_id, "time": at, "epoch": event.epoch });
        let line = match &event.event {
            Some(Event::State(value)) => with(head("state"), "state", &state(*value)),
            Some(Event::Progress(progress)) => {
                with(head("progress"), "progress", &ProgressView::from(progress))
            }
            Some(Event::Log(line)) => return self.output.json(&LogView::new(run_id, event, line)),
            // Its final form is told by `ended`; events of a newer coordinator say nothing to us.
            Some(Event::Ended(_)) | None => return Ok(()),
        };
        self.output.json(&line)
    }
}

/// One event for scripts.
#[derive(serde::Serialize)]
pub struct LogView {
    event: &'static str,
    run_id: String,
    time: Option<jiff::Timestamp>,
    epoch: u64,
    log: serde_json::Value,
}

impl LogView {
    /// A line that a run has said.
    pub fn new(run_id: &str, event: &v1::RunEvent, line: &v1::LogLine) -> Self {
        Self {
            event: "log",
            run_id: run_id.to_owned(),
            time: time(event.time_micros),
            epoch: event.epoch,
            log: json!({ "origin": line.origin, "text": line.text }),
        }
    }
}

fn with(
    mut head: serde_json::Value,
    name: &str,
    value: &impl serde::Serialize,
) -> serde_json::Value {
    head[name] = json!(value);
    head
}

/// A log line as people read it; the origin is left out where it says only "info".
pub fn log_line(line: &v1::LogLine) -> String {
    match line.origin.as_str() {
        "" | "info" => clean(&line.text),
        origin => format!("{}: {}", clean(origin), clean(&line.text)),
    }
}

fn progress_line(progress: &v1::Progress) -> String {
    let mut line = clean(&progress.phase);
    if progress.read_bytes == 0 {
        return line;
    }
    line.push_str(&format!(": read {}", size(progress.read_bytes)));
    if progress.expected_bytes > 0 {
        line.push_str(&format!(" of about {}", size(progress.expected_bytes)));
    }
    if progress.stored_bytes > 0 {
        line.push_str(&format!(", stored {}", size(progress.stored_bytes)));
    }
    if progress.eta_seconds > 0 {
        line.push_str(&format!(", about {} left", duration(progress.eta_seconds)));
    }
    line
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.set_style(style("{spinner} {msg} {elapsed}"));
    bar
}

/// A template that is wrong shows in the test below; at run time the plainest style stands in.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const MEASURED: &str = "{spinner} [{bar:30}] {percent:>3} % {msg} {elapsed}";

fn draw(bar: &ProgressBar, progress: &v1::Progress) {
    if progress.expected_bytes > 0 {
        if bar.length() != Some(progress.expected_bytes) {
            bar.set_style(style(MEASURED));
            bar.set_length(progress.expected_bytes);
        }
        bar.set_position(progress.read_bytes.min(progress.expected_bytes));
    }
    bar.set_message(progress_line(progress));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        assert!(ProgressStyle::with_template(MEASURED).is_ok());
        assert!(ProgressStyle::with_template("{spinner} {msg} {elapsed}").is_ok());
    }

    #[test]
    fn progress_says_only_what_is_known() {
        let mut progress = v1::Progress {
            phase: "dumping app".into(),
            read_bytes: 2048,
            ..Default::default()
        };
        assert_eq!(progress_line(&progress), "dumping app: read 2.0 KiB");
        progress.expected_bytes = 4096;
        progress.stored_bytes = 1024;
        progress.eta_seconds = 90;
        assert_eq!(
            progress_line(&progress),
            "dumping app: read 2.0 KiB of about 4.0 KiB, stored 1.0 KiB, about 1 min 30 s left"
        );
    }
}
