//! Compiles the contract with protox, so that no protoc is needed, and keeps the descriptors for reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["types", "agent", "control"].map(|name| format!("holdfast/v1/{name}.proto"));
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("holdfast.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .skip_debug([
            ".holdfast.v1.Grant",
            ".holdfast.v1.S3Access",
            ".holdfast.v1.PresignedPut",
            ".holdfast.v1.AddVaultRequest",
            ".holdfast.v1.JoinRequest",
            ".holdfast.v1.InviteAgentResponse",
            ".holdfast.v1.AddVaultResponse",
            ".holdfast.v1.GetVaultKitResponse",
        ])
        .compile_fds(descriptors)?;
    Ok(())
}
