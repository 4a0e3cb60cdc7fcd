use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use super::*;

/// Answers each connection with what `answer` says, and counts them.
async fn publisher(answer: impl Fn(usize) -> String + Send + Sync + 'static) -> (KeySource, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = KeySource::Url(format!("http://{}/keys", listener.local_addr().unwrap()));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let text = answer(count.fetch_add(1, Ordering::SeqCst));
            tokio::spawn(say(stream, text));
        }
    });
    (source, asked)
}

async fn say(mut stream: TcpStream, text: String) {
    let mut head = [0; 4096];
    let _ = stream.read(&mut head).await;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
    let _ = stream.write_all((head + &text).as_bytes()).await;
}

fn keys(source: KeySource) -> RemoteKeys<String> {
    let read = |document: &[u8]| match std::str::from_utf8(document) {
        Ok(text) if text.starts_with("key") => Ok(text.to_owned()),
        _ => Err("no key".to_owned()),
    };
    RemoteKeys::new(source, Way::Direct, read).unwrap()
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_at_most_once_in_ten_seconds() {
    let (source, asked) = publisher(|count| format!("key {count}")).await;
    let keys = keys(source);
    let first = keys.current().await.unwrap();
    assert_eq!(*first, "key 0");
    // A crowd of forged tokens, each with a key of its own.
    for _ in 0..20 {
        let crowd = (0..50).map(|_| keys.newer_than(&first));
        assert!(futures_util::future::join_all(crowd).await.iter().all(Option::is_none));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    *keys.0.tried.lock().await = Some(Instant::now().checked_sub(REFETCH_AFTER).unwrap());
    let crowd = (0..50).map(|_| keys.newer_than(&first));
    let newer = futures_util::future::join_all(crowd).await;
    assert!(newer.iter().all(|keys| keys.as_deref().is_some_and(|keys| keys == "key 1")));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn known_keys_stay_while_nothing_newer_can_be_had() {
    let (source, asked) = publisher(|count| if count == 0 { "key 0".to_owned() } else { "junk".to_owned() }).await;
    let keys = keys(source);
    let first = keys.current().await.unwrap();
    *keys.0.tried.lock().await = None;
    assert!(keys.newer_than(&first).await.is_none());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(Arc::ptr_eq(&keys.current().await.unwrap(), &first));
}

#[tokio::test]
async fn a_publisher_that_is_away_or_says_too_much_is_tried_again() {
    let (source, asked) = publisher(|count| match count {
        0 => "key".repeat(JWKS_BYTES_MAX),
        _ => "key 1".to_owned(),
    })
    .await;
    let keys = keys(source);
    assert!(keys.current().await.is_none());
    assert!(keys.current().await.is_none(), "not at once again");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    *keys.0.tried.lock().await = None;
    assert_eq!(*keys.current().await.unwrap(), "key 1");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(self::keys(KeySource::Url(format!("http://{nobody}"))).current().await.is_none());
}

#[tokio::test]
async fn nobody_waits_for_more_than_one_attempt() {
    // It takes connections and says nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let keys = keys(KeySource::Url(format!("http://{}", listener.local_addr().unwrap())));
    let began = Instant::now();
    let crowd = (0..50).map(|_| keys.current());
    assert!(futures_util::future::join_all(crowd).await.iter().all(Option::is_none));
    assert!(began.elapsed() < 2 * FETCH_TIMEOUT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn files_are_read_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let keys = keys(KeySource::File(path.clone()));
    assert!(keys.current().await.is_none());
    std::fs::write(&path, "key of a file").unwrap();
    *keys.0.tried.lock().await = None;
    assert_eq!(*keys.current().await.unwrap(), "key of a file");
}

#[test]
fn sources_are_told_apart() {
    assert!(matches!(KeySource::parse("https://id.example/keys"), Ok(KeySource::Url(_))));
    assert!(matches!(KeySource::parse("/etc/usher/keys.json"), Ok(KeySource::File(_))));
    for bad in ["", "http://", "ftp://x/y"] {
        assert!(KeySource::parse(bad).is_err(), "{bad}");
    }
}
