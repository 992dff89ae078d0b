//! Against a server on this machine that does what it is told.

use super::*;
use std::{
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What the server does with a request.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// All that is asked for.
    Serve,
    /// So many bytes of it, then nothing.
    Break(usize),
    /// The whole, whatever part was asked for.
    Ignore,
    /// An answer without content.
    Say(&'static str),
}

const CONTENT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Answers one request after the other as told; returns the address, and which ranges were asked for.
fn server(does: Vec<Does>) -> (String, Arc<Mutex<Vec<usize>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/linux.tar.xz", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    thread::spawn(move || {
        for does in does {
            let (mut stream, _) = listener.accept().unwrap();
            let from = range(&stream);
            seen.lock().unwrap().push(from);
            let rest = &CONTENT[from.min(CONTENT.len())..];
            let head = |status: &str, length: usize| {
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
            };
            let status = if from == 0 { "200 OK" } else { "206 Partial Content" };
            let answer = match does {
                Does::Serve => [head(status, rest.len()).as_bytes(), rest].concat(),
                Does::Break(at) => [head(status, rest.len()).as_bytes(), &rest[..at]].concat(),
                Does::Ignore => [head("200 OK", CONTENT.len()).as_bytes(), CONTENT].concat(),
                Does::Say(status) => head(status, 0).into_bytes(),
            };
            let _ = stream.write_all(&answer);
        }
    });
    (address, asked)
}

fn range(stream: &TcpStream) -> usize {
    let mut from = 0;
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap_or_default().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("range: bytes=") {
            from = bytes.trim_end_matches('-').parse().unwrap();
        }
    }
    from
}

fn sum() -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x");
    fs::write(&file, CONTENT).unwrap();
    digest(&file).unwrap()
}

fn cache() -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path()).unwrap();
    (folder, cache)
}

fn left(cache: &Cache) -> usize {
    fs::read_dir(cache.work("downloads")).unwrap().count()
}

#[test]
fn what_breaks_off_is_gone_on_with_and_nothing_is_left_behind() {
    let (_folder, cache) = cache();
    let (address, asked) = server(vec![Does::Break(10), Does::Break(5), Does::Serve]);
    let fetched = fetch(&cache, &address, Some(&sum())).unwrap();
    assert_eq!(fs::read(&fetched.path).unwrap(), CONTENT);
    assert_eq!(*asked.lock().unwrap(), [0, 10, 15]);
    drop(fetched);
    assert_eq!(left(&cache), 0);
}

#[test]
fn a_later_command_goes_on_where_an_earlier_one_broke_off_for_good() {
    let (_folder, cache) = cache();
    let (address, _) = server(vec![Does::Break(10), Does::Break(0)]);
    let error = fetch(&cache, &address, Some(&sum())).unwrap_err().to_string();
    assert!(error.contains(&address), "{error}");
    let (other, asked) = server(vec![Does::Serve]);
    // It is the same file, wherever it is.
    fs::rename(
        fs::read_dir(cache.work("downloads")).unwrap().next().unwrap().unwrap().path(),
        fetch_path(&cache, &other),
    )
    .unwrap();
    fetch(&cache, &other, Some(&sum())).unwrap();
    assert_eq!(*asked.lock().unwrap(), [10]);
}

/// Where a download of this address is kept.
fn fetch_path(cache: &Cache, address: &str) -> PathBuf {
    let name: String =
        address.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect();
    cache.work("downloads").join(format!("{}-{name}", &sum()[..9]))
}

#[test]
fn a_server_that_knows_no_parts_sends_all_of_it_again() {
    let (_folder, cache) = cache();
    let (address, _) = server(vec![Does::Break(10), Does::Ignore]);
    let fetched = fetch(&cache, &address, Some(&sum())).unwrap();
    assert_eq!(fs::read(&fetched.path).unwrap(), CONTENT);
}

#[test]
fn another_content_is_refused_and_not_kept() {
    let (_folder, cache) = cache();
    let (address, _) = server(vec![Does::Serve]);
    let wanted = "0".repeat(64);
    let error = fetch(&cache, &address, Some(&wanted)).unwrap_err();
    assert!(matches!(&error, SourceError::Checksum { found, .. } if *found == sum()), "{error}");
    assert_eq!(left(&cache), 0);
}

#[test]
fn what_is_not_there_is_told_at_once_and_a_busy_server_is_asked_once_more() {
    let (_folder, cache) = cache();
    let (address, asked) = server(vec![Does::Say("404 Not Found"), Does::Serve]);
    let error = fetch(&cache, &address, Some(&sum())).unwrap_err().to_string();
    assert!(error.contains("404") && asked.lock().unwrap().len() == 1, "{error}");
    let error = fetch(&cache, "http://127.0.0.1:1/x.tar", None).unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1"), "{error}");
}
