//! SeaweedFS: a real S3 server with a token service, one for all stories of a test binary, a bucket for each.
//!
//! It runs under a shell that waits for the end of its standard input: whatever ends this process (also `kill -9`)
//! ends the server and removes its folder.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::Rng;
use serde_json::{Value, json};

use crate::transcript::Transcript;
use crate::{http, places, ports, wait};

/// Starts the server named after its arguments' folder, ends with the standard input, leaves nothing.
const KEEPER: &str = r#"folder=$1; shift
"$@" >"$folder/log" 2>&1 </dev/null & server=$!
read -r _
kill -9 "$server"; wait "$server" 2>/dev/null
rm -rf "$folder""#;

/// The role that coordinators assume to make a run's credentials.
pub const ROLE: &str = "arn:aws:iam::000000000000:role/holdfast-runs";

/// A running S3 server.
pub struct SeaweedFs {
    folder: PathBuf,
    port: u16,
    filer_port: u16,
    /// The public half of the administrator's key.
    pub access_key: String,
    /// The secret half.
    pub secret_key: String,
    signing_key: String,
    buckets: AtomicU32,
    /// Its standard input is what keeps the server alive; nobody waits for it, it ends with this process.
    _keeper: Child,
}

static SHARED: LazyLock<SeaweedFs> = LazyLock::new(SeaweedFs::start);

impl SeaweedFs {
    /// The server of this test binary; its secrets are told to `transcript`.
    pub fn shared(transcript: &Transcript) -> &'static Self {
        let server = &*SHARED;
        transcript.add_secret("the S3 secret key", &server.secret_key);
        transcript.add_secret("the token service's signing key", &server.signing_key);
        server
    }

    /// Starts one and waits until it answers.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("holdfast-seaweedfs-")
            .tempdir()
            .unwrap()
            .keep();
        let random = |bytes: usize| -> String {
            hex::encode(
                (0..bytes)
                    .map(|_| rand::rng().random::<u8>())
                    .collect::<Vec<_>>(),
            )
        };
        let (access_key, secret_key, signing_key) = (random(8), random(20), random(16));
        crate::folder::write_private(
            &folder.join("s3.json"),
            &s3_config(&access_key, &secret_key).to_string(),
        );
        crate::folder::write_private(
            &folder.join("iam.json"),
            &iam_config(&signing_key).to_string(),
        );
        std::fs::create_dir(folder.join("data")).unwrap();

        let (port, filer_port) = (ports::free(), ports::free());
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .arg(places::weed());
        command.args(arguments(&folder, port, filer_port));
        let keeper = command
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let server = Self {
            _keeper: keeper,
            folder,
            port,
            filer_port,
            access_key,
            secret_key,
            signing_key,
            buckets: AtomicU32::new(0),
        };
        server.wait_until_ready();
        server
    }

    /// Ready is when a bucket can be made and S3 asks for credentials.
    fn wait_until_ready(&self) {
        let asks =
            |port, path| http::request("GET", port, path).is_some_and(|(status, _)| status < 500);
        wait::until_true("SeaweedFS to answer", wait::seconds(60), || {
            asks(self.port, "/") && asks(self.filer_port, "/")
        });
    }

    /// The S3 port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a bucket of which nobody else knows, and returns its name.
    pub fn new_bucket(&self) -> String {
        let number = self.buckets.fetch_add(1, Ordering::Relaxed);
        let name = format!("story-{number}");
        let made = http::request("POST", self.filer_port, &format!("/buckets/{name}/"));
        assert!(
            made.as_ref().is_some_and(|(status, _)| *status < 300),
            "bucket {name}: {made:?}"
        );
        name
    }

    /// Removes a bucket with all that is in it, past S3.
    pub fn remove_bucket(&self, name: &str) {
        let path = format!("/buckets/{name}?recursive=true");
        let removed = http::request("DELETE", self.filer_port, &path);
        assert!(
            removed.as_ref().is_some_and(|(status, _)| *status < 300),
            "bucket {name}: {removed:?}"
        );
    }

    /// Keys below `prefix` (a folder of a bucket, without slash at the end) and their sizes, read from behind S3.
    #[must_use]
    pub fn objects(&self, bucket: &str, prefix: &str) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        self.collect(&format!("/buckets/{bucket}/{prefix}"), &mut found);
        let root = format!("/buckets/{bucket}/");
        found
            .iter_mut()
            .for_each(|(key, _)| *key = key.trim_start_matches(&root).to_owned());
        found.sort();
        found
    }

    fn collect(&self, folder: &str, found: &mut Vec<(String, u64)>) {
        let path = format!("{}/?limit=100000", folder.trim_end_matches('/'));
        let Some((200, body)) = http::request("GET", self.filer_port, &path) else {
            return;
        };
        let listing: Value = serde_json::from_str(&body).unwrap();
        for entry in listing["Entries"].as_array().into_iter().flatten() {
            let name = entry["FullPath"].as_str().unwrap();
            // The top bit but 31 of Go's file mode says folder.
            if entry["Mode"].as_u64().unwrap() & (1 << 31) != 0 {
                self.collect(name, found);
            } else {
                found.push((name.to_owned(), entry["FileSize"].as_u64().unwrap()));
            }
        }
    }

    /// Where the server lives.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn arguments(folder: &Path, port: u16, filer_port: u16) -> Vec<String> {
    let free = ports::free;
    let at = |name: &str| folder.join(name).display().to_string();
    vec![
        "server".into(),
        format!("-dir={}", at("data")),
        "-ip=127.0.0.1".into(),
        "-ip.bind=127.0.0.1".into(),
        format!("-master.port={}", free()),
        format!("-master.port.grpc={}", free()),
        "-master.electionTimeout=1s".into(),
        "-master.heartbeatInterval=100ms".into(),
        "-master.volumeSizeLimitMB=128".into(),
        "-master.telemetry=false".into(),
        format!("-volume.port={}", free()),
        format!("-volume.port.grpc={}", free()),
        "-volume.max=1000".into(),
        format!("-filer.port={filer_port}"),
        format!("-filer.port.grpc={}", free()),
        "-s3".into(),
        format!("-s3.port={port}"),
        format!("-s3.port.grpc={}", free()),
        // A missing bucket is to be an error, as it is elsewhere.
        "-s3.autoCreateBucket=false".into(),
        "-s3.port.iceberg=0".into(),
        "-s3.port.lance=0".into(),
        format!("-s3.config={}", at("s3.json")),
        format!("-s3.iam.config={}", at("iam.json")),
    ]
}

fn s3_config(access_key: &str, secret_key: &str) -> Value {
    json!({ "identities": [{
        "name": "admin",
        "credentials": [{ "accessKey": access_key, "secretKey": secret_key }],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }] })
}

fn iam_config(signing_key: &str) -> Value {
    let allow = |action: &str, resources: Value| json!({ "Effect": "Allow", "Action": [action], "Resource": resources });
    let everything = json!({ "Version": "2012-10-17", "Statement": [
        allow("s3:*", json!(["*"])), allow("sts:ValidateSession", json!(["*"])),
    ] });
    let trust = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole"] },
    ] });
    json!({
        "sts": { "tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "stories",
                 "signingKey": STANDARD.encode(signing_key) },
        "policy": { "defaultEffect": "Deny", "storeType": "memory" },
        "providers": [],
        "policies": [{ "name": "Everything", "document": everything }],
        "roles": [{ "roleName": "holdfast-runs", "roleArn": ROLE, "trustPolicy": trust,
                    "attachedPolicies": ["Everything"] }],
    })
}
