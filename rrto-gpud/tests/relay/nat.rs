//! A symmetric address translator on loopback: who sends to it has a port of its own towards one destination, from which alone it
//! takes answers, until that is forgotten.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// No datagram is longer.
const MAX_BYTES: usize = 65_535;

pub(crate) struct Nat {
    /// Where those behind it send what is for the destination.
    pub(crate) inside: SocketAddr,
    mappings: Arc<Mutex<HashMap<SocketAddr, Mapping>>>,
    _runtime: Runtime,
}

struct Mapping {
    outside: Arc<UdpSocket>,
    answers: JoinHandle<()>,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

impl Nat {
    pub(crate) fn start(destination: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mappings: Arc<Mutex<HashMap<SocketAddr, Mapping>>> = Arc::default();
        let socket = runtime.block_on(UdpSocket::bind("127.0.0.1:0")).unwrap();
        let inside = socket.local_addr().unwrap();
        runtime.spawn(translate(Arc::new(socket), destination, mappings.clone()));
        Nat { inside, mappings, _runtime: runtime }
    }

    /// Whoever is behind it comes from another port from now on, and nothing gets to the old ones. How many were forgotten.
    pub(crate) fn forget(&self) -> usize {
        self.mappings.lock().unwrap().drain().count()
    }
}

async fn translate(
    inside: Arc<UdpSocket>,
    destination: SocketAddr,
    mappings: Arc<Mutex<HashMap<SocketAddr, Mapping>>>,
) {
    let mut buffer = vec![0; MAX_BYTES];
    loop {
        let (bytes, source) = inside.recv_from(&mut buffer).await.unwrap();
        let known = mappings.lock().unwrap().get(&source).map(|mapping| mapping.outside.clone());
        let outside = match known {
            Some(outside) => outside,
            None => {
                let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                // From now on the system drops what comes from anywhere else.
                outside.connect(destination).await.unwrap();
                let outside = Arc::new(outside);
                let answers = tokio::spawn(answer(outside.clone(), inside.clone(), source));
                mappings.lock().unwrap().insert(source, Mapping { outside: outside.clone(), answers });
                outside
            }
        };
        // Refused while the relay is away: lost.
        let _ = outside.send(&buffer[..bytes]).await;
    }
}

async fn answer(outside: Arc<UdpSocket>, inside: Arc<UdpSocket>, source: SocketAddr) {
    let mut buffer = vec![0; MAX_BYTES];
    loop {
        if let Ok(bytes) = outside.recv(&mut buffer).await {
            let _ = inside.send_to(&buffer[..bytes], source).await;
        }
    }
}
