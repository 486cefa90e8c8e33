-- The machines of the fleet, and what they are told to do.

create table nodes (
    node       text primary key check (node <> '' and length(node) <= 63),
    home       text not null,
    version    text not null,
    is_joined  boolean not null,
    started_at timestamptz not null default now(),
    seen_at    timestamptz not null default now(),
    left_at    timestamptz,
    told       jsonb,
    rival_home text,
    rival_at   timestamptz
) with (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
comment on table nodes is 'each machine that works here; one that vanished stays until it comes back or is forgotten';
comment on column nodes.home is 'its machine and directory: two nodes that want one name differ in it';
comment on column nodes.is_joined is 'it works on the stores of another machine';
comment on column nodes.left_at is 'it was stopped in good order; null: it works, or it vanished';
comment on column nodes.told is 'figures of the machine and its processes, as it last told of them';
comment on column nodes.rival_at is 'when another home last wanted the name';

create table node_orders (
    id         bigint generated always as identity primary key,
    node       text not null,
    process    text not null,
    action     text not null check (action in ('restart', 'stop')),
    reason     text not null default '',
    ordered_by text not null,
    ordered_at timestamptz not null default now(),
    state      text not null default 'waiting' check (state in ('waiting', 'done', 'failed', 'expired')),
    ended_at   timestamptz,
    detail     text not null default '',
    check ((state = 'waiting') = (ended_at is null))
);
comment on table node_orders is 'what machines are told to do; each takes up its own';
comment on column node_orders.process is 'empty: every process of ours on that node';
create index node_orders_waiting on node_orders (node, id) where state = 'waiting';
create index node_orders_latest on node_orders (ordered_at desc);

create function ring_node() returns trigger
language plpgsql
as $$
begin
    perform pg_notify('askpro_orders', new.node);
    return null;
end $$;

create trigger node_orders_ring after insert on node_orders for each row execute function ring_node();

grant select on nodes, node_orders to askpro_watch, askpro_console;
grant select, insert, update, delete on nodes, node_orders to askpro_worker;
grant execute on function ring_node() to askpro_worker;
