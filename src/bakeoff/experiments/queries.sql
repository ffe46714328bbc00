-- name: insert_experiment(experiment_id, policy_id, kind, name, spec, spec_digest, created_at)!
insert into experiments (experiment_id, policy_id, kind, name, spec, spec_digest, status, created_at)
values (:experiment_id, :policy_id, :kind, :name, :spec, :spec_digest, 'created', :created_at)
on conflict (experiment_id) do nothing;

-- name: insert_variant(variant_id, experiment_id, name, role, policy_version_id, config)!
insert into variants (variant_id, experiment_id, name, role, policy_version_id, config)
values (:variant_id, :experiment_id, :name, :role, :policy_version_id, :config)
on conflict (variant_id) do nothing;

-- name: insert_phase(phase_id, experiment_id, number, treated_variant_id, control_variant_id, treated_bp, snapshot_id, began_at)!
insert into phases (phase_id, experiment_id, number, treated_variant_id, control_variant_id, treated_bp, snapshot_id, began_at)
values (:phase_id, :experiment_id, :number, :treated_variant_id, :control_variant_id, :treated_bp, :snapshot_id, :began_at);

-- name: set_running(now, experiment_id)!
update experiments set status = 'running', started_at = :now where experiment_id = :experiment_id and status = 'created';

-- name: end_experiment(status, reason, now, experiment_id)!
update experiments set status = :status, reason = :reason, ended_at = :now
where experiment_id = :experiment_id and kind <> 'default' and status = 'running';

-- name: experiment(experiment_id)^
select * from experiments where experiment_id = :experiment_id;

-- name: default_experiment(policy_id)^
select * from experiments where policy_id = :policy_id and kind = 'default';

-- name: running_test(policy_id)^
select * from experiments where policy_id = :policy_id and kind = 'test' and status = 'running';

-- name: running_holdback(policy_id)^
select * from experiments where policy_id = :policy_id and kind = 'holdback' and status = 'running';

-- name: holdbacks(policy_id)
select * from experiments where policy_id = :policy_id and kind = 'holdback' order by created_at, experiment_id;

-- name: tests(policy_id)
select * from experiments where policy_id = :policy_id and kind = 'test' order by created_at, experiment_id;

-- name: variants(experiment_id)
select * from variants where experiment_id = :experiment_id order by name collate "C";

-- name: phases(experiment_id)
select * from phases where experiment_id = :experiment_id order by number;

-- name: in_force(unit_id, policy_id)
-- What serves a policy now: each running experiment with its latest phase, one row per variant, and where the unit
-- was met before. One query, because every decision asks it.
select e.kind, e.experiment_id, f.number, f.treated_bp, f.began_at, f.treated_variant_id, f.control_variant_id,
       v.variant_id, v.name, v.role, v.policy_version_id,
       x.variant_id as met_variant_id, x.assignment_probability as met_probability, u.variant_id as forced_variant_id
from experiments e
join lateral (select * from phases p where p.experiment_id = e.experiment_id order by p.number desc limit 1) f on true
join variants v on v.experiment_id = e.experiment_id
left join exposures x on x.experiment_id = e.experiment_id and x.unit_id = :unit_id
left join forced_variants u on u.experiment_id = e.experiment_id and u.unit_id = :unit_id
where e.policy_id = :policy_id and e.status = 'running';

-- name: insert_exposure(experiment_id, unit_id, variant_id, policy_version_id, phase, bucket, assignment_probability, hash_version, occurred_at, forced)!
insert into exposures (experiment_id, unit_id, variant_id, policy_version_id, phase, bucket,
    assignment_probability, hash_version, occurred_at, forced)
values (:experiment_id, :unit_id, :variant_id, :policy_version_id, :phase, :bucket,
    :assignment_probability, :hash_version, :occurred_at, :forced)
on conflict (experiment_id, unit_id) do nothing;

-- name: exposure(experiment_id, unit_id)^
select * from exposures where experiment_id = :experiment_id and unit_id = :unit_id;

-- name: exposures(experiment_id)
select * from exposures where experiment_id = :experiment_id order by unit_id collate "C";

-- name: exposures_of_unit(unit_id)
select * from exposures where unit_id = :unit_id order by occurred_at, experiment_id;

-- name: count_exposures(experiment_id)$
select count(*) from exposures where experiment_id = :experiment_id;

-- name: insert_forced(experiment_id, unit_id, variant_id, policy_version_id, forced_by, forced_at)!
insert into forced_variants (experiment_id, unit_id, variant_id, policy_version_id, forced_by, forced_at)
values (:experiment_id, :unit_id, :variant_id, :policy_version_id, :forced_by, :forced_at)
on conflict (experiment_id, unit_id) do nothing;

-- name: forced(experiment_id)
select unit_id, variant_id, forced_by, forced_at from forced_variants
where experiment_id = :experiment_id order by unit_id collate "C";

-- name: insert_waiver(waiver_id, experiment_id, phase_number, rule, signed_by, reason, given_at)!
insert into waivers (waiver_id, experiment_id, phase_number, rule, signed_by, reason, given_at)
values (:waiver_id, :experiment_id, :phase_number, :rule, :signed_by, :reason, :given_at)
on conflict (waiver_id) do nothing;

-- name: waivers(experiment_id)
select experiment_id, phase_number, rule, signed_by, reason, given_at from waivers
where experiment_id = :experiment_id order by given_at, rule;

-- name: insert_snapshot(snapshot_id, experiment_id, phase_number, verdict, reason, analysis, taken_at)!
insert into monitor_snapshots (snapshot_id, experiment_id, phase_number, verdict, reason, analysis, taken_at)
values (:snapshot_id, :experiment_id, :phase_number, :verdict, :reason, :analysis, :taken_at)
on conflict (snapshot_id) do nothing;

-- name: snapshots(experiment_id)
select * from monitor_snapshots where experiment_id = :experiment_id order by taken_at;

-- name: snapshot_at(experiment_id, taken_at)^
select * from monitor_snapshots where experiment_id = :experiment_id and taken_at = :taken_at;

-- name: last_snapshot(experiment_id)^
select * from monitor_snapshots where experiment_id = :experiment_id order by taken_at desc limit 1;
