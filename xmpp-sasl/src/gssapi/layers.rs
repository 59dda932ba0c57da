//! The messages under protection once both sides are authenticated: security layers and the authorization identity
//! (RFC 4752 §3.1-3.3).

/// "No security layer".
const NONE: u8 = 1;

/// The bits that stand for real layers: integrity, confidentiality.
const LAYERS: u8 = 2 | 4;

/// What a server offers that has no layers: "the maximum size … MUST be 0 if the server does not support any".
pub(super) const OFFER: [u8; 4] = [NONE, 0, 0, 0];

/// Why a client goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadOffer {
    /// Not four octets, or a size for layers that are not there.
    Malformed,
    /// The server insists on a layer.
    LayerRequired,
}

/// The client's answer to an offer: no layer, and who to act as.
pub(super) fn choose(offer: &[u8], authzid: &str) -> Result<Vec<u8>, BadOffer> {
    let Ok([layers, size @ ..]) = <[u8; 4]>::try_from(offer) else {
        return Err(BadOffer::Malformed);
    };
    // "The client verifies that the server maximum buffer is 0 if the server does not advertise support for any".
    // Unknown bits are not layers.
    if layers & LAYERS == 0 && size != [0; 3] {
        return Err(BadOffer::Malformed);
    }
    if layers & NONE == 0 {
        return Err(BadOffer::LayerRequired);
    }
    let mut choice = OFFER.to_vec();
    choice.extend_from_slice(authzid.as_bytes());
    Ok(choice)
}

/// The authorization identity in a client's choice (empty: none), if the choice is the one we offered.
pub(super) fn chosen(choice: &[u8]) -> Option<&str> {
    let authzid = choice.strip_prefix(&OFFER)?;
    // "not terminated with the zero-valued octet".
    let authzid = std::str::from_utf8(authzid).ok()?;
    (!authzid.contains('\0')).then_some(authzid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_without_need_for_layers_is_taken() {
        let plain = [1, 0, 0, 0];
        assert_eq!(choose(&plain, ""), Ok(vec![1, 0, 0, 0]));
        assert_eq!(
            choose(&plain, "example.com"),
            Ok(b"\x01\0\0\0example.com".to_vec())
        );
        // All layers and 16777215 octets, as Cyrus SASL has it.
        assert_eq!(choose(&[7, 255, 255, 255], ""), Ok(vec![1, 0, 0, 0]));
        // A layer of the future.
        assert_eq!(choose(&[9, 0, 0, 0], ""), Ok(vec![1, 0, 0, 0]));
    }

    #[test]
    fn other_offers_are_not() {
        for short in [&b""[..], &[1], &[1, 0], &[1, 0, 0], &[1, 0, 0, 0, 0]] {
            assert_eq!(choose(short, ""), Err(BadOffer::Malformed));
        }
        assert_eq!(choose(&[1, 0, 255, 255], ""), Err(BadOffer::Malformed));
        assert_eq!(choose(&[6, 0, 255, 255], ""), Err(BadOffer::LayerRequired));
        assert_eq!(choose(&[0, 0, 0, 0], ""), Err(BadOffer::LayerRequired));
    }

    #[test]
    fn the_choice_is_no_layer_and_an_identity() {
        assert_eq!(chosen(&[1, 0, 0, 0]), Some(""));
        assert_eq!(chosen(b"\x01\0\0\0example.com"), Some("example.com"));
        // Two layers, one that was not offered, none with a size, too short, a NUL, not UTF-8.
        for bad in [
            &[3, 0, 0, 0][..],
            &[4, 0, 0, 0],
            &[0, 0, 0, 0],
            &[1, 0, 255, 255],
            &[1, 0],
            &[],
            b"\x01\0\0\0example.com\0",
            b"\x01\0\0\0\xff",
        ] {
            assert_eq!(chosen(bad), None, "{bad:?}");
        }
    }
}
