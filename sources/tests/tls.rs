//! Encrypted connections: ours and those of the client programs, in every mode.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;

use holdfast_sources::{FailureClass, Source};
use holdfast_tests::folder::StoryFolder;
use holdfast_tests::postgres::Postgres;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use support::{Run, Vault, source_with};

struct Story {
    server: Postgres,
    password: PathBuf,
    folder: StoryFolder,
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that takes TCP connections with TLS only, with a certificate for `name`.
fn story(story: &str, name: &str) -> Story {
    let folder = StoryFolder::new(story);
    let server = Postgres::start(&folder, "server", 15);
    let authority = authority("the right one");
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    std::fs::write(folder.path("ca.pem"), authority.pem()).unwrap();
    std::fs::write(
        folder.path("other.pem"),
        self::authority("another one").pem(),
    )
    .unwrap();
    let put = |file: &str, text: &str| {
        let command = format!("umask 077; cat > {}/data/{file}", server.socket().display());
        server.sql(
            "postgres",
            &format!(
                "COPY (SELECT unnest(string_to_array($q${text}$q$, E'\\n'))) TO PROGRAM '{command}'"
            ),
        );
    };
    put("server.crt", &certificate.pem());
    put("server.key", &key.serialize_pem());
    put(
        "pg_hba.conf",
        "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n",
    );
    server.sql("postgres", "ALTER SYSTEM SET ssl = on");
    server.sql("postgres", "SELECT pg_reload_conf()");
    let password = folder.path("password");
    holdfast_tests::folder::write_private(&password, server.password());
    Story {
        server,
        password,
        folder,
    }
}

impl Story {
    fn source(&self, more: &str) -> Box<dyn Source> {
        source_with(&format!(
            "host = '127.0.0.1'\nport = {}\nuser = 'holdfast'\npassword = {{ file = '{}' }}\nprograms = ['{}']\n{more}",
            self.server.port(),
            self.password.display(),
            self.server.programs().display()
        ))
    }

    fn ca(&self, name: &str) -> String {
        format!("ca_file = '{}'", self.folder.path(name).display())
    }

    async fn works(&self, more: &str) {
        let vault = Vault::new().await;
        let source = self.source(more);
        let (id, _) = vault
            .backup(&*source, &Run::new())
            .await
            .unwrap_or_else(|error| panic!("{more}: {error}"));
        let request = holdfast_sources::RestoreRequest {
            into: Some("copy".to_owned()),
            ..support::of(&["postgres"])
        };
        vault
            .restore(&*source, &id, &request, &Run::new())
            .await
            .unwrap_or_else(|error| panic!("{more}: {error}"));
        self.server.sql("postgres", "DROP DATABASE copy");
    }

    async fn fails(&self, more: &str, words: &str) {
        let error = Vault::new()
            .await
            .backup(&*self.source(more), &Run::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(words), "{more}: {error}");
        assert_eq!(error.class(), FailureClass::Permanent, "{more}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mode_checks_what_it_says() {
    let story = story("tls-modes", "127.0.0.1");
    story.works("tls = 'prefer'").await;
    story.works("tls = 'require'").await;
    story
        .works(&format!("tls = 'verify-ca'\n{}", story.ca("ca.pem")))
        .await;
    story
        .works(&format!("tls = 'verify-full'\n{}", story.ca("ca.pem")))
        .await;
    story.fails("tls = 'disable'", "no encryption").await;
    story
        .fails(
            &format!("tls = 'verify-ca'\n{}", story.ca("other.pem")),
            "ertificate",
        )
        .await;
    story.fails("tls = 'verify-full'", "ertificate").await;
    let encrypted = story
        .server
        .sql("postgres", "SELECT count(*) FROM pg_stat_ssl WHERE ssl");
    assert_eq!(encrypted, "0", "no session is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_name_counts_in_verify_full_only() {
    let story = story("tls-name", "db.example");
    story
        .works(&format!("tls = 'verify-ca'\n{}", story.ca("ca.pem")))
        .await;
    story
        .fails(
            &format!("tls = 'verify-full'\n{}", story.ca("ca.pem")),
            "ertificate",
        )
        .await;
}

#[test]
fn an_authorities_file_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, "no certificate").unwrap();
    let text = format!(
        "[source]\nname = 'db'\nkind = 'postgres'\nuser = 'u'\nhost = 'h'\ntls = 'verify-ca'\nca_file = '{}'",
        file.display()
    );
    let configuration: support::Configuration =
        holdfast_config::parse("agent.toml", &text).unwrap();
    let error = configuration
        .source
        .open(std::path::Path::new("/"))
        .unwrap_err();
    assert!(
        error.to_string().contains("holds no certificate") && error.to_string().contains("ca.pem"),
        "{error}"
    );
}
