"""Who asks: a tenant and the names that access lists hold. The data layer takes one with every read.

A tenant's collections lie apart from everybody else's, in the catalog and in Milvus: their names begin with the tenant's.
So documents of two tenants may have the same id, and word statistics of one tell the other nothing. Inside a tenant a
document has an access list; who is on it finds the document, and to all others it is not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rag.errors import UsageError

EVERYONE = "all"  # on an access list: everybody of the tenant
PUBLIC = (EVERYONE,)
TENANT = "\x02"  # parts the tenant from the collection's name; no user's name holds it
MAX_NAMES = 100

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,99}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who is not the owner of the home. names: such as `u:ann`, `g:staff`; `all` is always meant, too.

    collections: the only ones that are there for this one; empty: all of the tenant. writes: may change what is in them.
    """

    tenant: str = ""
    names: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    writes: bool = True

    @property
    def readers(self) -> tuple[str, ...]:
        """The names on an access list that let this one in."""
        return tuple(dict.fromkeys((EVERYONE, *self.names)))

    def may_see(self, collection: str) -> bool:
        """collection: as its people know it."""
        return not self.collections or collection in self.collections


def checked_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names for an access list or a key, sorted. Raises UsageError for characters that have no business in one."""
    found = sorted(set(names))
    if len(found) > MAX_NAMES:
        raise UsageError(f"An access list holds at most {MAX_NAMES} names, not {len(found)}. Use a group.")
    for name in found:
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name[:40]!r} cannot stand on an access list. Use letters, digits and _ . @ : + -, such as u:ann or g:staff."
            )
    return tuple(found)


def checked_tenant(tenant: str) -> str:
    """Raises UsageError for a tenant's name that is not 1 to 32 small letters, digits and dashes, or empty."""
    if tenant and not _TENANT.fullmatch(tenant):
        raise UsageError(f"A tenant's name has 1 to 32 small letters, digits and dashes, not {tenant[:40]!r}.")
    return tenant


def stored_name(tenant: str, collection: str) -> str:
    """The name under which a tenant's collection is kept."""
    return f"{tenant}{TENANT}{collection}" if tenant else collection


def shown_name(stored: str) -> str:
    """A collection's name as its people know it."""
    return stored.rpartition(TENANT)[2]


def belongs(stored: str, tenant: str) -> bool:
    """Whether a kept collection is the tenant's; those of the home's owner belong to no tenant."""
    return stored.startswith(tenant + TENANT) if tenant else TENANT not in stored
