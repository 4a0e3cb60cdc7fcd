//! The server to compare with: the same runtime and HTTP library as ours, and nothing to do.

use std::{convert::Infallible, net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};

use crate::process::{Child, free_port};

/// How long it may take to start.
const START_WITHIN: Duration = Duration::from_secs(10);

/// Such a server as a process of its own, on one worker thread.
#[derive(Debug)]
pub struct Hello {
    /// The process.
    pub child: Child,
    /// Its address, `http://…` without a slash at the end.
    pub url: String,
}

impl Hello {
    /// Starts one that answers everything with so many bytes, its log in `folder`.
    pub async fn start(http: &reqwest::Client, bytes: usize, folder: &Path) -> Result<Self> {
        let address = free_port()?;
        let args = [
            "hello".to_owned(),
            format!("--listen={address}"),
            "--threads=1".into(),
            format!("--post-bytes={bytes}"),
            format!("--get-bytes={bytes}"),
        ];
        let mut child = Child::start("hello", &std::env::current_exe()?, args, &[], folder)?;
        let (url, until) = (format!("http://{address}"), Instant::now() + START_WITHIN);
        while http.get(&url).send().await.is_err() {
            ensure!(child.is_running() && Instant::now() < until, "hello did not start: {}", child.last_lines());
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { child, url })
    }
}

/// What to answer.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of an answer to POST.
    pub post_bytes: usize,
    /// Bytes of an answer to anything else.
    pub get_bytes: usize,
}

/// Serves until the process ends.
pub async fn serve(listen: SocketAddr, sizes: Sizes) -> Result<()> {
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    let (post, get) = (Bytes::from(vec![b'x'; sizes.post_bytes]), Bytes::from(vec![b'x'; sizes.get_bytes]));
    loop {
        let (stream, _) = listener.accept().await?;
        let _ = stream.set_nodelay(true);
        let (post, get) = (post.clone(), get.clone());
        tokio::spawn(async move {
            let answers = service_fn(move |request| answer(request, post.clone(), get.clone()));
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new());
            let _ = connection.serve_connection(TokioIo::new(stream), answers).await;
        });
    }
}

async fn answer(request: Request<Incoming>, post: Bytes, get: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = if request.method() == Method::POST { post } else { get };
    // An error here is a broken connection: nobody is left to answer.
    let _ = request.into_body().collect().await;
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
