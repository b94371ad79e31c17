//! TLS for tests: an authority of their own, what it issues, and clients that trust it.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};

use super::stream::Stream;
use super::wait::PATIENCE;

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, on the disk.
#[derive(Debug, Clone)]
pub struct Issued {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What is out of the ordinary with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    None,
    Expired,
    /// Issued by itself, and an authority at that, as `openssl req -x509` makes them.
    SelfSigned,
    /// Its key is an RSA one.
    Rsa,
}

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // A name of its own: of two with one name, the wrong one's signature is what clients complain of.
        let name = format!("test authority {:x?}", &key.public_key_raw()[1..5]);
        params.distinguished_name.push(DnType::CommonName, name);
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Writes `NAME.pem`, with the authority's certificate behind, and `NAME.key` for these hosts.
    pub fn issue(&self, folder: &Path, name: &str, hosts: &[&str]) -> Issued {
        self.issue_odd(folder, name, hosts, Oddity::None)
    }

    pub fn issue_odd(&self, folder: &Path, name: &str, hosts: &[&str], oddity: Oddity) -> Issued {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if oddity == Oddity::Expired {
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = match oddity {
            Oddity::Rsa => KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(),
            _ => KeyPair::generate().unwrap(),
        };
        let certificate = if oddity == Oddity::SelfSigned {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.self_signed(&key).unwrap()
        } else {
            params.signed_by(&key, &self.0).unwrap()
        };
        let issued =
            Issued { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
        let chain = if oddity == Oddity::SelfSigned { String::new() } else { self.0.pem() };
        fs::write(&issued.cert, certificate.pem() + &chain).unwrap();
        fs::write(&issued.key, key.serialize_pem()).unwrap();
        fs::set_permissions(&issued.key, fs::Permissions::from_mode(0o600)).unwrap();
        issued
    }

    /// Writes the authority's own certificate.
    pub fn write(&self, path: &Path) {
        fs::write(path, self.0.pem()).unwrap();
    }

    /// A client that trusts this authority.
    pub fn client(&self) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        TlsClient { roots, alpn: Vec::new(), versions: rustls::ALL_VERSIONS, identity: None }
    }
}

impl Issued {
    /// As a config has it.
    pub fn written(&self) -> String {
        format!("{{ cert: {}, key: {} }}", self.cert.display(), self.key.display())
    }

    /// The certificate itself.
    pub fn der(&self) -> Vec<u8> {
        self.load().0[0].to_vec()
    }

    fn load(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_file_iter(&self.cert).unwrap().map(Result::unwrap).collect();
        (chain, PrivateKeyDer::from_pem_file(&self.key).unwrap())
    }
}

/// Trusts everybody who can sign in these ways.
#[derive(Debug)]
pub struct Trusting(pub Vec<SignatureScheme>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// What a client offers.
#[derive(Clone)]
pub struct TlsClient {
    roots: RootCertStore,
    alpn: Vec<Vec<u8>>,
    versions: &'static [&'static SupportedProtocolVersion],
    identity: Option<Issued>,
}

impl TlsClient {
    pub fn alpn(mut self, protocols: &[&str]) -> TlsClient {
        self.alpn = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    pub fn versions(mut self, versions: &'static [&'static SupportedProtocolVersion]) -> TlsClient {
        self.versions = versions;
        self
    }

    pub fn identity(mut self, issued: &Issued) -> TlsClient {
        self.identity = Some(issued.clone());
        self
    }

    /// One that may resume its sessions.
    pub fn config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_protocol_versions(self.versions)
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.identity {
            Some(issued) => {
                let (chain, key) = issued.load();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.clone();
        Arc::new(config)
    }

    pub fn connect(&self, address: &str, name: &str) -> Result<TlsStream, rustls::Error> {
        handshake(&self.config(), address, name)
    }
}

pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// The whole handshake, and the first bytes of the server's behind it: those that refuse a client's certificate.
pub fn handshake(config: &Arc<ClientConfig>, address: &str, name: &str) -> Result<TlsStream, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(config.clone(), name)?;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut stream) {
            let error = error.downcast::<rustls::Error>();
            return Err(error.unwrap_or_else(|error| rustls::Error::General(error.to_string())));
        }
    }
    Ok(StreamOwned::new(session, stream))
}

/// Says a request on a connection, and everything that comes back until it is closed.
pub fn ask(stream: &mut TlsStream, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

impl From<TlsStream> for Stream {
    fn from(stream: TlsStream) -> Stream {
        Stream::Tls(Box::new(stream))
    }
}
