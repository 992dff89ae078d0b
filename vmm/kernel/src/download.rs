//! A source from the web: fetched once, going on where it broke off, and used only if it is what was asked for.

use super::{source::digest, sources::SourceError};
use base::{
    cache::{Cache, CacheError},
    interrupt,
    progress::{Progress, Total, Unit},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use ureq::{Agent, http::StatusCode};

/// So often a download that breaks is gone on with, where each attempt brings something.
const ATTEMPTS: u32 = 5;
/// A server that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file that was fetched; it goes with this.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Where it is.
    pub path: PathBuf,
}

impl Drop for Fetched {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Fetches an address. Without a checksum (`None`) whatever comes is taken.
///
/// # Errors
/// The server, the way to it, the disk; and content that is not what the checksum says, of which nothing is kept.
pub(super) fn fetch(cache: &Cache, address: &str, sha256: Option<&str>) -> Result<Fetched, SourceError> {
    let folder = cache.work("downloads");
    fs::create_dir_all(&folder).map_err(CacheError::io("make the folder", &folder))?;
    let name: String =
        address.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect();
    let name: String = name.chars().rev().take(120).collect::<Vec<_>>().into_iter().rev().collect();
    // Of one name for each content: what an attempt left of another one must not be gone on with.
    let path = folder.join(format!("{}-{name}", &sha256.unwrap_or("unchecked")[..9]));
    if sha256.is_none() {
        let _ = fs::remove_file(&path);
    }
    let agent: Agent = Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .http_status_as_error(false)
        .build()
        .into();
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let before = length(&path);
        match go_on(&agent, address, &path) {
            Ok(()) => return checked(path, address, sha256),
            Err(Failed::For(error)) => return Err(error),
            Err(Failed::Broke(why)) => last = why,
        }
        if length(&path) == before {
            break;
        }
    }
    Err(SourceError::Download { address: address.to_owned(), why: last })
}

enum Failed {
    /// It makes no sense to try again.
    For(SourceError),
    /// The connection broke.
    Broke(String),
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// Gets what is missing of the file.
fn go_on(agent: &Agent, address: &str, path: &Path) -> Result<(), Failed> {
    let fatal = |error: CacheError| Failed::For(error.into());
    let refused = |why: String| Failed::For(SourceError::Download { address: address.to_owned(), why });
    let have = length(path);
    let mut request = agent.get(address);
    if have > 0 {
        // RFC 9110, section 14.
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = request.call().map_err(|error| match error {
        ureq::Error::Io(error) => Failed::Broke(error.to_string()),
        ureq::Error::Timeout(_) => Failed::Broke(error.to_string()),
        error => refused(error.to_string()),
    })?;
    let (mut done, truncate) = match response.status() {
        StatusCode::PARTIAL_CONTENT => (have, false),
        StatusCode::OK => (0, true),
        // There is nothing behind what we have.
        StatusCode::RANGE_NOT_SATISFIABLE => return Ok(()),
        status if status.is_server_error() => return Err(Failed::Broke(format!("the server says {status}"))),
        status => return Err(refused(format!("the server says {status}"))),
    };
    let rest: Option<u64> =
        response.headers().get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    let total = rest.map_or(Total::Unknown, |rest| Total::Known(done + rest));
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|error| fatal(CacheError::io("write", path)(error)))?;
    if truncate {
        file.set_len(0).map_err(|error| fatal(CacheError::io("write", path)(error)))?;
    }
    let progress = Progress::start(&format!("getting {address}"), Unit::Bytes, total);
    let mut body = response.into_body().into_reader();
    let mut buffer = vec![0; 1 << 18];
    loop {
        if interrupt::requested() {
            return Err(fatal(CacheError::Interrupted));
        }
        match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                file.write_all(&buffer[..n]).map_err(|error| fatal(CacheError::io("write", path)(error)))?;
                done += n as u64;
                progress.set(done);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failed::Broke(error.to_string())),
        }
    }
    match total {
        Total::Known(all) if done < all => {
            Err(Failed::Broke(format!("it ended after {done} of {all} bytes")))
        }
        _ => Ok(()),
    }
}

fn checked(path: PathBuf, address: &str, sha256: Option<&str>) -> Result<Fetched, SourceError> {
    // Dropped on every way out: what is wrong is not gone on with.
    let fetched = Fetched { path };
    File::open(&fetched.path).map_err(CacheError::io("read", &fetched.path))?;
    let found = digest(&fetched.path)?;
    match sha256 {
        Some(wanted) if wanted != found => {
            Err(SourceError::Checksum { address: address.to_owned(), wanted: wanted.to_owned(), found })
        }
        _ => Ok(fetched),
    }
}

#[cfg(test)]
#[path = "download_test.rs"]
mod tests;
