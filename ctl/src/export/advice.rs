//! How what was exported is loaded with PostgreSQL's own programs.

use std::path::Path;

use super::compress::Compression;
use crate::output::result::shell_word;

/// Lines for people; empty when nothing exported is known to us.
pub fn lines(paths: &[&Path], compression: Compression) -> Vec<String> {
    let mut lines = Vec::new();
    for path in paths.iter().filter(|path| bare_name(path) == "globals.sql") {
        let line = command(path, compression, "psql -X -d postgres", " -f ");
        lines.push(format!("  {line}"));
    }
    for path in paths
        .iter()
        .filter(|path| bare_name(path).ends_with(".dump"))
    {
        // The database that pg_restore connects to is there already.
        let program = match bare_name(path).as_str() {
            "postgres.dump" => "pg_restore -d postgres",
            _ => "pg_restore --create -d postgres",
        };
        let line = command(path, compression, program, " ");
        lines.push(format!("  {line}"));
    }
    if !lines.is_empty() {
        let title = "To load it into a PostgreSQL server of the same or a newer version:";
        lines.insert(0, title.into());
    }
    lines
}

/// The file's name without what compression added.
fn bare_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.strip_suffix(".zst").unwrap_or(name).to_owned()
}

fn command(path: &Path, compression: Compression, program: &str, argument: &str) -> String {
    let file = shell_word(&path.to_string_lossy());
    match compression {
        Compression::None => format!("{program}{argument}{file}"),
        Compression::Gzip => format!("gunzip -c {file} | {program}"),
        Compression::Zstd => format!("zstd -dc {file} | {program}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dump_gets_its_line() {
        let paths = [
            Path::new("out/globals.sql.gz"),
            Path::new("out/databases/my app.dump.gz"),
            Path::new("out/manifest.json.gz"),
        ];
        let lines = lines(&paths, Compression::Gzip);
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1],
            "  gunzip -c out/globals.sql.gz | psql -X -d postgres"
        );
        assert_eq!(
            lines[2],
            "  gunzip -c 'out/databases/my app.dump.gz' | pg_restore --create -d postgres"
        );
        let maintenance = super::lines(&[Path::new("postgres.dump")], Compression::None);
        assert_eq!(maintenance[1], "  pg_restore -d postgres postgres.dump");
        assert!(super::lines(&[Path::new("x.json")], Compression::None).is_empty());
    }
}
