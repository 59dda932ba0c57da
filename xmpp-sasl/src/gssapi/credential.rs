//! Credentials from files that are named, and not from those that the process's environment names.
//!
//! This is the only file with `unsafe` in the crate: libgssapi does not wrap `gss_acquire_cred_from` (MIT's
//! `gssapi_ext.h`), which takes the places where keys and tickets are as arguments.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use libgssapi::credential::Cred;
use libgssapi::error::{Error, MajorFlags};
use libgssapi::oid::{GSS_MECH_KRB5, GSS_NT_KRB5_PRINCIPAL, Oid};
use libgssapi_sys as sys;

use super::{Acceptor, Initiator};

/// For accepting tickets of any name in the keytab; the caller looks at which one it was (RFC 4752 §3.2).
pub(super) fn acceptor(acceptor: &Acceptor) -> Result<Cred, String> {
    let mut store = Vec::new();
    if let Some(keytab) = &acceptor.keytab {
        store.push((c"keytab", readable(keytab)?));
    }
    acquire(None, sys::GSS_C_ACCEPT, &store)
}

/// For showing tickets. With a keytab they are fetched when the first one is needed, and kept in this process under
/// the name of principal and keytab.
pub(super) fn initiator(initiator: &Initiator) -> Result<Cred, String> {
    let mut store = Vec::new();
    if let Some(keytab) = &initiator.keytab {
        let principal = initiator.principal.as_deref().unwrap_or_default();
        let cache = format!("MEMORY:xmpp-sasl {principal} ");
        store.push((c"client_keytab", readable(keytab)?));
        store.push((c"ccache", place(cache.as_bytes(), keytab)?));
    }
    acquire(initiator.principal.as_deref(), sys::GSS_C_INITIATE, &store)
}

/// A keytab. That it cannot be read is what the libraries do not say of a client's.
fn readable(keytab: &Path) -> Result<CString, String> {
    let place = place(b"FILE:", keytab)?;
    File::open(keytab).map_err(|error| format!("{}: {error}", keytab.display()))?;
    Ok(place)
}

fn place(kind: &[u8], path: &Path) -> Result<CString, String> {
    CString::new([kind, path.as_os_str().as_bytes()].concat())
        .map_err(|_| "a file name with a NUL in it".to_owned())
}

fn acquire(name: Option<&str>, usage: u32, store: &[(&CStr, CString)]) -> Result<Cred, String> {
    let name = name.map(Name::principal).transpose()?;
    let mut elements: Vec<sys::gss_key_value_element_desc> = store
        .iter()
        .map(|(key, value)| sys::gss_key_value_element_desc {
            key: key.as_ptr(),
            value: value.as_ptr(),
        })
        .collect();
    let store = sys::gss_key_value_set_desc {
        count: u32::try_from(elements.len()).expect("two at most"),
        elements: elements.as_mut_ptr(),
    };
    let mut kerberos = descriptor(GSS_MECH_KRB5);
    let mut mechanisms = sys::gss_OID_set_desc {
        count: 1,
        elements: &mut kerberos,
    };
    let mut minor = 0;
    let mut credential = ptr::null_mut();
    // SAFETY: all pointers are to locals (and to `store`, `name` and static OIDs, which outlive the call) of the types
    // that the header asks for; the library reads the name, the set and the store during the call only and copies what
    // it keeps; null means "not wanted" for the last two and "default" for the name; `elements` is not read if the
    // count is 0.
    let major = unsafe {
        sys::gss_acquire_cred_from(
            &mut minor,
            name.as_ref().map_or(ptr::null_mut(), |name| name.0),
            sys::_GSS_C_INDEFINITE,
            &mut mechanisms,
            usage as sys::gss_cred_usage_t,
            if store.count == 0 {
                ptr::null()
            } else {
                &store
            },
            &mut credential,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    complete(major, minor)?;
    // SAFETY: the call succeeded, so `credential` is a credential of ours, with no other owner.
    Ok(unsafe { Cred::from_c(credential) })
}

/// A name for this module's own call; libgssapi does not hand out the pointer in its own.
struct Name(sys::gss_name_t);

impl Name {
    fn principal(text: &str) -> Result<Self, String> {
        let mut kind = descriptor(GSS_NT_KRB5_PRINCIPAL);
        let mut buffer = sys::gss_buffer_desc {
            length: text.len(),
            value: text.as_ptr().cast_mut().cast(),
        };
        let mut minor = 0;
        let mut name = ptr::null_mut();
        // SAFETY: the pointers are to locals and to `text`; the library reads buffer and OID during the call and copies
        // them (RFC 2744 §5.16).
        let major = unsafe { sys::gss_import_name(&mut minor, &mut buffer, &mut kind, &mut name) };
        complete(major, minor)?;
        Ok(Self(name))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: the name is one that gss_import_name made, and it is released once, here.
        unsafe { sys::gss_release_name(&mut minor, &mut self.0) };
    }
}

/// The C form of an OID. The octets are static.
fn descriptor(oid: Oid<'static>) -> sys::gss_OID_desc {
    let octets: &[u8] = &oid;
    sys::gss_OID_desc {
        length: u32::try_from(octets.len()).expect("OIDs are short"),
        elements: octets.as_ptr().cast_mut().cast(),
    }
}

fn complete(major: u32, minor: u32) -> Result<(), String> {
    if major == sys::GSS_S_COMPLETE {
        return Ok(());
    }
    let error = Error {
        major: MajorFlags::from_bits_retain(major),
        minor,
    };
    Err(error.to_string())
}
