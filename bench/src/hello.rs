//! The server to compare with: the same runtime and HTTP library as ours, and nothing to do.

use std::{convert::Infallible, net::SocketAddr};

use anyhow::{Context, Result};
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
use tokio::net::TcpListener;

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
