//! Secret files, private files, and the environment.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use holdfast_config::{
    SecretSource, format_duration, format_size, parse_duration, parse_size, read_private,
    read_secret, write_private,
};
use secrecy::ExposeSecret;

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_that_others_may_read_is_refused_with_the_command_that_closes_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pass word");
    std::fs::write(&path, "s3cret\n").unwrap();
    for mode in [0o644, 0o640, 0o604, 0o620, 0o601, 0o660] {
        set_mode(&path, mode);
        let message = read_secret(&path).unwrap_err().to_string();
        let command = format!("chmod 600 '{}'", path.display());
        assert!(message.contains(&command), "{mode:o}: {message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
    for mode in [0o600, 0o400, 0o700] {
        set_mode(&path, mode);
        assert_eq!(read_secret(&path).unwrap().expose_secret(), "s3cret");
    }
}

#[test]
fn one_trailing_newline_is_taken_off_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pw");
    for (written, read) in [("a\n\n", "a\n"), ("a\r\n", "a"), (" a ", " a "), ("a", "a")] {
        write_private(&path, written.as_bytes()).unwrap();
        assert_eq!(read_secret(&path).unwrap().expose_secret(), read);
    }
    write_private(&path, b"\n").unwrap();
    assert!(
        read_secret(&path)
            .unwrap_err()
            .to_string()
            .contains("is empty")
    );
}

#[test]
fn what_is_no_secret_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = read_secret(&folder.path().join("none")).unwrap_err();
    assert!(missing.to_string().contains("does not exist"), "{missing}");
    let a_folder = read_secret(folder.path()).unwrap_err();
    assert!(
        a_folder.to_string().contains("not a regular file"),
        "{a_folder}"
    );
}

#[test]
fn private_files_are_replaced_whole_and_closed_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    write_private(&path, b"old").unwrap();
    set_mode(&path, 0o644);
    write_private(&path, b"new").unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(read_private(&path).unwrap().as_slice(), b"new");
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 1, "no temporary file stays behind");
}

#[test]
fn a_write_that_fails_leaves_the_old_file_and_no_temporary_one() {
    let folder = tempfile::tempdir().unwrap();
    let occupied = folder.path().join("occupied");
    std::fs::create_dir(&occupied).unwrap();
    std::fs::write(occupied.join("inside"), "x").unwrap();
    assert!(write_private(&occupied, b"new").is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read(occupied.join("inside")).unwrap(), b"x");
}

#[test]
fn secrets_come_from_files_beside_the_configuration_and_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    write_private(&folder.path().join("pw"), b"from a file\n").unwrap();
    let source = SecretSource::File("pw".into());
    let secret = source.resolve_in(folder.path()).unwrap();
    assert_eq!(secret.expose_secret(), "from a file");
    // PATH is set wherever tests run.
    let path = std::env::var("PATH").unwrap();
    let secret = SecretSource::Env("PATH".into()).resolve().unwrap();
    assert_eq!(secret.expose_secret(), path);
    assert!(!format!("{secret:?}").contains(&path));
    let unset = SecretSource::Env("HOLDFAST_NO_SUCH_VARIABLE".into()).resolve();
    assert!(
        unset
            .unwrap_err()
            .to_string()
            .contains("HOLDFAST_NO_SUCH_VARIABLE")
    );
}

#[test]
fn durations_are_read_as_written() {
    for (text, seconds) in [
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("30d", 2_592_000),
        ("1h30m", 5400),
        ("2w", 1_209_600),
        ("0s", 0),
    ] {
        assert_eq!(
            parse_duration(text).unwrap(),
            Duration::from_secs(seconds),
            "{text}"
        );
    }
    assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
    for text in [
        "",
        "90",
        "s",
        "1x",
        "-1s",
        "1.5h",
        "1h 30m",
        "99999999999999999999s",
        "18446744073709551615w",
        "1h30",
    ] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
    for text in ["1d12h", "250ms", "1h30m", "0s", "30d"] {
        assert_eq!(format_duration(parse_duration(text).unwrap()), text);
    }
}

#[test]
fn sizes_are_read_as_written() {
    for (text, bytes) in [
        ("16MiB", 16 << 20),
        ("1GiB", 1 << 30),
        ("500MB", 500_000_000),
        ("4096", 4096),
        ("1 kib", 1024),
        ("7B", 7),
    ] {
        assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
    }
    for text in ["", "MiB", "1.5GiB", "-1", "1XB", "99999999TiB"] {
        assert!(parse_size(text).is_err(), "{text}");
    }
    for bytes in [0, 1000, 1024, 16 << 20, 1 << 40] {
        assert_eq!(parse_size(&format_size(bytes)).unwrap(), bytes);
    }
}
