//! TLS for our own client: the five modes, over rustls.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::config::{TlsConfig, TlsMode};
use crate::model::{Error, ErrorKind, Result};

/// The settings of a TLS connection, as the configuration asks for them.
pub(super) fn client_config(tls: &TlsConfig) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| failed("cannot set up TLS", e))?;
    let verifier: Arc<dyn ServerCertVerifier> = match tls.mode {
        TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required => {
            Arc::new(Unverified(Arc::clone(&provider)))
        }
        TlsMode::VerifyCa => Arc::new(ChainAlone(web_pki(tls, &provider)?)),
        TlsMode::VerifyIdentity => web_pki(tls, &provider)?,
    };
    let builder = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let chain = read_certificates(cert)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unreadable(key, e))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|e| failed("`tls_cert` and `tls_key` do not fit together", e))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// The system's authorities, each certificate's bytes.
pub(super) fn native_roots() -> Vec<CertificateDer<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!("an authority of the system cannot be read: {error}");
    }
    found.certs
}

fn web_pki(tls: &TlsConfig, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &tls.ca {
        for certificate in read_certificates(ca)? {
            roots
                .add(certificate)
                .map_err(|e| failed(&format!("`{}` holds no authority", ca.display()), e))?;
        }
    } else {
        // The system's store may hold some that this library does not take.
        roots.add_parsable_certificates(native_roots());
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|e| {
            failed("there is no authority to check certificates with", e)
                .with_fix("set `tls_ca` to the authority that signed the server's certificate")
        })
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|e| unreadable(path, e))?
        .collect();
    let found = found.map_err(|e| unreadable(path, e))?;
    if found.is_empty() {
        return Err(Error::new(
            ErrorKind::Tls,
            format!("`{}` holds no certificate", path.display()),
        )
        .with_fix("give a file in PEM form"));
    }
    Ok(found)
}

fn unreadable(path: &Path, error: rustls::pki_types::pem::Error) -> Error {
    Error::new(ErrorKind::Tls, format!("cannot read `{}`", path.display()))
        .with_source(error)
        .with_fix("give a file in PEM form that this user may read")
        .at(|c| c.path = Some(path.display().to_string()))
}

fn failed(message: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Tls, message).with_source(error)
}

/// Encrypts without checking who is at the other end: `preferred` and `required`.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks the chain, but not whether the certificate is for this host: `verify-ca`.
#[derive(Debug)]
struct ChainAlone(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ChainAlone {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        {
            // The name is looked at last, once the chain was found right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
