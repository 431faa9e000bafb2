//! Everything a story's programs wrote, and the secrets that must be in none of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rand::Rng;

/// Lines of each log that a failing story shows.
const TAIL_LINES: usize = 40;

/// Cloneable; all clones are one.
#[derive(Clone, Default)]
pub struct Transcript(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    logs: Vec<(String, PathBuf)>,
    texts: Vec<(String, String)>,
    secrets: Vec<(String, String)>,
}

impl Transcript {
    /// A new random secret called `name`, to be found nowhere.
    #[must_use]
    pub fn new_secret(&self, name: &str) -> String {
        let bytes: [u8; 18] = rand::rng().random();
        let secret = hex::encode(bytes);
        self.add_secret(name, &secret);
        secret
    }

    /// A secret made elsewhere.
    pub fn add_secret(&self, name: &str, value: &str) {
        assert!(
            value.len() >= 12,
            "{name} is too short to be told from chance"
        );
        let mut content = self.0.lock().unwrap();
        content.secrets.push((name.to_owned(), value.to_owned()));
    }

    /// Output that goes to a file while a program runs.
    pub fn add_log(&self, name: &str, path: &Path) {
        let mut content = self.0.lock().unwrap();
        content.logs.push((name.to_owned(), path.to_owned()));
    }

    /// Output already at hand.
    pub fn add_text(&self, name: &str, text: &str) {
        let mut content = self.0.lock().unwrap();
        content.texts.push((name.to_owned(), text.to_owned()));
    }

    /// Panics when any output holds a secret, naming both, and showing the line without the secret.
    pub fn assert_no_secrets(&self) {
        let content = self.0.lock().unwrap();
        let read = content
            .logs
            .iter()
            .map(|(name, path)| (name.clone(), read_text(path)));
        let mut searched = 0;
        for (origin, text) in read.chain(content.texts.iter().cloned()) {
            searched += text.len();
            for (name, secret) in &content.secrets {
                if let Some(line) = text.lines().find(|line| line.contains(secret.as_str())) {
                    panic!(
                        "{origin} gives {name} away: {}",
                        line.replace(secret.as_str(), "<SECRET>")
                    );
                }
            }
        }
        assert!(searched > 0, "no output was searched for secrets");
    }

    /// The last lines of every log, for a story that fails.
    #[must_use]
    pub fn tails(&self) -> String {
        let content = self.0.lock().unwrap();
        let texts = content.texts.iter().rev().take(6).rev().cloned();
        let logs = content
            .logs
            .iter()
            .map(|(name, path)| (name.clone(), read_text(path)));
        let mut tails = String::new();
        for (name, text) in texts.chain(logs) {
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(TAIL_LINES);
            tails.push_str(&format!(
                "---- {name}, last lines ----\n{}\n",
                lines[from..].join("\n")
            ));
        }
        tails
    }
}

fn read_text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
