//! Plain, gzip or zstd: streamed, so that memory does not grow with the file.

use std::io;
use std::path::{Path, PathBuf};

use async_compression::Level;
use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 * 1024;

/// zstd's own default.
const ZSTD_LEVEL: Level = Level::Precise(3);

/// How an exported file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// As it is
    None,
    /// For gunzip
    Gzip,
    /// For zstd
    Zstd,
}

impl Compression {
    /// The name with the usual suffix.
    pub fn add_suffix(self, path: &Path) -> PathBuf {
        let suffix = match self {
            Self::None => return path.to_owned(),
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        };
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    }
}

/// Copies all of `reader`, and makes it durable. The number of bytes read.
pub async fn copy<R: AsyncRead + Unpin>(
    reader: R,
    file: tokio::fs::File,
    compression: Compression,
) -> io::Result<u64> {
    let durable = file.try_clone().await?;
    let bytes = match compression {
        Compression::None => drain(reader, file).await?,
        Compression::Gzip => drain(reader, GzipEncoder::new(file)).await?,
        Compression::Zstd => drain(reader, ZstdEncoder::with_quality(file, ZSTD_LEVEL)).await?,
    };
    durable.sync_all().await?;
    Ok(bytes)
}

async fn drain<R, W>(reader: R, mut writer: W) -> io::Result<u64>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    let bytes = tokio::io::copy_buf(&mut reader, &mut writer).await?;
    writer.shutdown().await?;
    Ok(bytes)
}
