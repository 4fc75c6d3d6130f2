//! A client that does not keep to the protocol, made of bare QUIC.

use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use rrto_core::wire::{ClientFrame, FrameReader, Hello, Mode, ServerFrame, put_frame};
use rrto_quic::SERVER_NAME;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Runtime;

use crate::harness::{PATIENCE, Server, robot_credentials};

/// What the server said before it closed the connection.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) welcomed: bool,
    pub(crate) ended: Option<String>,
}

pub(crate) fn frame(frame: &ClientFrame) -> Vec<u8> {
    let mut out = Vec::new();
    put_frame(frame, &mut out).unwrap();
    out
}

/// Sends `first` on the control stream of a new connection, `then` once it is welcomed, and listens until the server
/// closes the connection.
pub(crate) fn talk(server: &Server, first: &[u8], then: &[u8]) -> Told {
    runtime().block_on(async {
        let (_endpoint, connection, mut send, mut recv) = open(server).await;
        send.write_all(first).await.unwrap();
        let (mut told, mut reader) = (Told::default(), FrameReader::default());
        // Ends with the stream or with the connection; which of the two is not what the tests are about.
        while let Ok(Some(chunk)) = recv.read_chunk(usize::MAX, true).await {
            reader.handle_bytes(&chunk.bytes);
            while let Some(frame) = reader.poll_frame().unwrap() {
                match frame {
                    ServerFrame::Welcome(..) => {
                        told.welcomed = true;
                        send.write_all(then).await.unwrap();
                    }
                    ServerFrame::Ended { reason } => told.ended = Some(reason),
                    _ => {}
                }
            }
        }
        tokio::time::timeout(PATIENCE, connection.closed()).await.expect("the server keeps the connection");
        told
    })
}

/// Gets a session and then falls silent without a goodbye, as a robot that drives out of reach.
pub(crate) fn vanish(server: &Server) {
    let runtime = runtime();
    let open = runtime.block_on(async {
        let (endpoint, connection, mut send, mut recv) = open(server).await;
        send.write_all(&frame(&ClientFrame::Hello(Hello::new(Mode::Pipeline, "vanishing")))).await.unwrap();
        recv.read_chunk(usize::MAX, true).await.unwrap();
        (endpoint, connection, send, recv)
    });
    assert_eq!(server.gate.sessions(), 1);
    // Nothing runs any more that could say that the connection is closed.
    runtime.shutdown_background();
    drop(open);
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn open(server: &Server) -> (Endpoint, Connection, SendStream, RecvStream) {
    let credentials = robot_credentials(server.certificates.path());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(credentials.ca).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_file(credentials.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(credentials.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![b"rrto/1".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let connection = endpoint.connect_with(config, server.address, SERVER_NAME).unwrap().await.unwrap();
    let (send, recv) = connection.open_bi().await.unwrap();
    (endpoint, connection, send, recv)
}
