"""What is asked of the store, as a key that is known without reading an image."""

from __future__ import annotations

from foldtune.data.sources.listing import Listing
from foldtune.data.store.decode import Fit
from foldtune.data.store.entries import FORMAT
from foldtune.files import digest

DROPPED = ("conflicts drop",)  # stated in the identity


def request_key(listing: Listing, fit: Fit, drop: bool = False) -> str:
    """The hash of what is known of a listing without reading an image."""
    items = [part for item in listing.items for part in (item.name, item.label)]
    shape = [len(listing.classes), *listing.classes, len(listing.items), *items]
    return digest(["request", FORMAT, *fit.geometry, listing.origin, *shape, *listing.stamps,
                   *fit.other_settings, *(DROPPED if drop else ())])  # fmt: skip


def stored_key(listing: Listing, fit: Fit, drop: bool) -> str:
    """The request of what is decoded as a whole: of how a set's range is found, too."""
    how = fit.range if isinstance(fit.range, str) else ""
    return digest(["ranges 1", how, request_key(listing, fit, drop)])
