//! The storage's access key: from a file, the environment, or a prompt; never from an argument, where every process on the
//! host could read it.
//!
//! The file is `name = value` lines, as the AWS tools write them: `aws_access_key_id`, `aws_secret_access_key` and, for
//! reading alone, `aws_session_token`; the `aws_` may be left out. Section headers are allowed; a second one ends the reading.

use std::io::IsTerminal;
use std::path::Path;

use holdfast_config::read_private;
use holdfast_vault::S3Credentials;
use secrecy::SecretString;

use crate::exit::CommandError;

/// The variables looked at, in this order.
const ENVIRONMENT: [[&str; 3]; 2] = [
    [
        "HOLDFAST_ACCESS_KEY_ID",
        "HOLDFAST_SECRET_ACCESS_KEY",
        "HOLDFAST_SESSION_TOKEN",
    ],
    [
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ],
];

/// The credentials of a file, of the environment, or typed on the terminal.
pub fn find(file: Option<&Path>) -> Result<S3Credentials, CommandError> {
    if let Some(file) = file {
        return from_file(file);
    }
    for names in ENVIRONMENT {
        if let Some(found) = from_environment(names)? {
            return Ok(found);
        }
    }
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return from_prompt();
    }
    Err(CommandError::usage("the storage's credentials are missing").hint(
        "give them by --credentials-file FILE, by HOLDFAST_ACCESS_KEY_ID and HOLDFAST_SECRET_ACCESS_KEY in the environment, or on a terminal",
    ))
}

fn from_file(path: &Path) -> Result<S3Credentials, CommandError> {
    let bytes = read_private(path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| CommandError::usage(format!("{} is not text", path.display())))?;
    parse(text).map_err(|why| CommandError::usage(format!("{}{why}", path.display())))
}

/// Reads the text of a credentials file; an error begins with `:line` where there is one, and repeats no value.
fn parse(text: &str) -> Result<S3Credentials, String> {
    let [mut id, mut secret, mut token] = [None, None, None];
    let mut sections = 0;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with('[') {
            sections += 1;
            if sections > 1 {
                break;
            }
            continue;
        }
        let place = format!(":{}: ", index + 1);
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| format!("{place}expected name = value"))?;
        let value = value.trim().trim_matches('"').to_owned();
        match name.trim().trim_start_matches("aws_") {
            "access_key_id" => id = Some(value),
            "secret_access_key" => secret = Some(value),
            "session_token" => token = Some(value),
            _ => {
                return Err(format!(
                    "{place}unknown name; known are aws_access_key_id, aws_secret_access_key and aws_session_token"
                ));
            }
        }
    }
    match (id, secret) {
        (Some(id), Some(secret)) if !id.is_empty() && !secret.is_empty() => {
            Ok(credentials(id, secret, token))
        }
        _ => Err(" holds no aws_access_key_id with its aws_secret_access_key".into()),
    }
}

fn credentials(id: String, secret: String, token: Option<String>) -> S3Credentials {
    S3Credentials {
        access_key_id: id,
        secret_access_key: secret.into(),
        session_token: token
            .filter(|token| !token.is_empty())
            .map(SecretString::from),
        expires_at: None,
    }
}

fn from_environment([id, secret, token]: [&str; 3]) -> Result<Option<S3Credentials>, CommandError> {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (value(id), value(secret)) {
        (Some(id), Some(secret)) => Ok(Some(credentials(id, secret, value(token)))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(CommandError::usage(format!(
            "{id} is set but {secret} is not"
        ))),
        (None, Some(_)) => Err(CommandError::usage(format!(
            "{secret} is set but {id} is not"
        ))),
    }
}

fn from_prompt() -> Result<S3Credentials, CommandError> {
    let unread = |error: dialoguer::Error| {
        CommandError::usage(format!("cannot read the credentials: {error}"))
    };
    let id: String = dialoguer::Input::new()
        .with_prompt("Access key id")
        .interact_text()
        .map_err(unread)?;
    let secret = dialoguer::Password::new()
        .with_prompt("Secret access key")
        .interact()
        .map_err(unread)?;
    Ok(credentials(id.trim().to_owned(), secret, None))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn the_aws_form_and_the_plain_form_are_read() {
        for text in [
            "[default]\naws_access_key_id = AKID\naws_secret_access_key = s3cr3t\n[other]\naws_access_key_id = no\n",
            "# keys\naccess_key_id=AKID\nsecret_access_key=\"s3cr3t\"\n",
        ] {
            let found = parse(text).expect("whole");
            assert_eq!(found.access_key_id, "AKID");
            assert_eq!(found.secret_access_key.expose_secret(), "s3cr3t");
        }
    }

    #[test]
    fn what_is_missing_or_misspelt_is_named_without_its_value() {
        let error = parse("aws_access_key_id = a\naws_secret_key = hush\n").expect_err("unknown");
        assert!(error.starts_with(":2: unknown name"), "{error}");
        assert!(!error.contains("hush"), "{error}");
        assert!(parse("aws_access_key_id = a\n").is_err());
        assert!(parse("just words hush").is_err_and(|error| !error.contains("hush")));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}", value in "[a-zA-Z0-9+/]{1,40}") {
            let _ = parse(&text);
            let written = format!("aws_access_key_id={value}\naws_secret_access_key = {value}");
            let found = parse(&written).expect("whole");
            prop_assert_eq!(found.access_key_id, value);
        }
    }
}
