// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { IParticipants } from "./interfaces/IParticipants.sol";
import { Roles } from "./Roles.sol";

/// @title Participants
/// @dev The admin functions are `restricted`: the AccessManager says who is registrar and regulator. The `require…` views, which
/// every request calls, never ask it.
contract Participants is IParticipants, AccessManaged {
    uint8 private constant NONE = 0;
    uint8 private constant ACTIVE = 1;
    uint8 private constant SUSPENDED = 2;
    uint8 private constant REPLACED = 3;

    /// @dev What one operator has: its holder account, suspended or not, and how many broker and regulator accounts.
    struct Operator {
        address holder;
        uint32 brokers;
        uint32 regulators;
    }

    mapping(address account => Participant) private _participants;
    mapping(address operator => Operator) private _operators;
    mapping(address account => address) private _successors;
    mapping(address account => address) private _roots;

    constructor(address manager) AccessManaged(manager) { }

    /// @inheritdoc IParticipants
    function admit(address account, address operator, uint32 roles, bytes32 x25519) external restricted {
        if (account == address(0) || operator == address(0)) revert ParticipantsAddressZero();
        if (roles == 0) revert ParticipantsRolesUnknown(roles);
        _requireUnused(account);
        _requireKey(x25519);
        _participants[account] = Participant({
            operator: operator,
            roles: 0,
            status: ACTIVE,
            keyVersion: 1,
            since: uint48(block.number),
            x25519: x25519
        });
        _assignRoles(account, roles);
        emit ParticipantAdmitted(account, operator, roles, x25519);
    }

    /// @inheritdoc IParticipants
    function setRoles(address account, uint32 roles) external restricted {
        uint8 status = _participants[account].status;
        if (status != ACTIVE && status != SUSPENDED) revert ParticipantsStatusInvalid(account, status);
        _assignRoles(account, roles);
        emit RolesChanged(account, roles);
    }

    /// @inheritdoc IParticipants
    function replaceAccount(address account, address successor, bytes32 x25519) external restricted {
        if (successor == address(0)) revert ParticipantsAddressZero();
        Participant memory participant = _participants[account];
        if (participant.status != ACTIVE && participant.status != SUSPENDED) {
            revert ParticipantsStatusInvalid(account, participant.status);
        }
        _requireUnused(successor);
        _requireKey(x25519);
        _participants[account].status = REPLACED;
        participant.keyVersion += 1;
        participant.since = uint48(block.number);
        participant.x25519 = x25519;
        _participants[successor] = participant;
        _successors[account] = successor;
        _roots[successor] = rootOf(account);
        if (participant.roles & Roles.HOLDER != 0) _operators[participant.operator].holder = successor;
        emit AccountReplaced(account, successor, participant.keyVersion, x25519);
    }

    /// @inheritdoc IParticipants
    function suspend(address account) external restricted {
        _changeStatus(account, ACTIVE, SUSPENDED);
        emit ParticipantSuspended(account);
    }

    /// @inheritdoc IParticipants
    function lift(address account) external restricted {
        _changeStatus(account, SUSPENDED, ACTIVE);
        emit ParticipantLifted(account);
    }

    /// @inheritdoc IParticipants
    function rotateKeys(bytes32 x25519) external {
        Participant storage participant = _participants[msg.sender];
        if (participant.status != ACTIVE) revert ParticipantsInactive(msg.sender, 0);
        _requireKey(x25519);
        uint24 version = participant.keyVersion + 1;
        participant.keyVersion = version;
        participant.x25519 = x25519;
        emit KeysRotated(msg.sender, version, x25519);
    }

    /// @inheritdoc IParticipants
    function get(address account) external view returns (Participant memory) {
        return _participants[account];
    }

    /// @inheritdoc IParticipants
    function isActive(address account, uint32 roles) external view returns (bool) {
        Participant storage participant = _participants[account];
        return participant.status == ACTIVE && participant.roles & roles == roles;
    }

    /// @inheritdoc IParticipants
    function holderOf(address operator) external view returns (address) {
        return _operators[operator].holder;
    }

    /// @inheritdoc IParticipants
    function successorOf(address account) external view returns (address) {
        return _successors[account];
    }

    /// @inheritdoc IParticipants
    function hasSucceeded(address current, address former) external view returns (bool) {
        return _successors[former] != address(0) && _successors[current] == address(0)
            && rootOf(former) == rootOf(current);
    }

    /// @inheritdoc IParticipants
    function rootOf(address account) public view returns (address) {
        address root = _roots[account];
        return root == address(0) ? account : root;
    }

    /// @inheritdoc IParticipants
    function requireActive(address account, uint16 roles) external view {
        _requireActive(account, roles);
    }

    /// @inheritdoc IParticipants
    function requireBrokerage(address buyer, address broker) external view {
        _requireBrokerage(buyer, broker);
    }

    /// @inheritdoc IParticipants
    function requireIndependentHolder(address holder, address buyer, address broker, uint256 openedAt)
        external
        view
    {
        (address ofBuyer, address ofBroker) = _requireBrokerage(buyer, broker);
        (address ofHolder, uint256 since) = _requireActive(holder, Roles.HOLDER);
        if (ofHolder == ofBuyer) revert ParticipantsOperatorShared(holder, buyer);
        if (ofHolder == ofBroker) revert ParticipantsOperatorShared(holder, broker);
        if (since >= openedAt) revert ParticipantsHolderTooNew(holder, since, openedAt);
    }

    function _requireBrokerage(address buyer, address broker)
        private
        view
        returns (address ofBuyer, address ofBroker)
    {
        (ofBuyer,) = _requireActive(buyer, Roles.BUYER);
        (ofBroker,) = _requireActive(broker, Roles.BROKER);
        if (ofBuyer == ofBroker) revert ParticipantsOperatorShared(buyer, broker);
    }

    function _requireActive(address account, uint16 roles)
        private
        view
        returns (address operator, uint48 since)
    {
        Participant storage participant = _participants[account];
        uint16 held;
        uint8 status;
        (operator, held, status, since) =
        (participant.operator, participant.roles, participant.status, participant.since);
        if (status != ACTIVE || held & roles != roles) revert ParticipantsInactive(account, roles);
    }

    function _requireUnused(address account) private view {
        if (_participants[account].status != NONE) revert ParticipantsAlreadyAdmitted(account);
    }

    function _requireKey(bytes32 x25519) private pure {
        if (x25519 == 0) revert ParticipantsKeyZero();
    }

    function _changeStatus(address account, uint8 from, uint8 to) private {
        uint8 status = _participants[account].status;
        if (status != from) revert ParticipantsStatusInvalid(account, status);
        _participants[account].status = to;
    }

    /// @dev Keeps the operator's record: at most one holder account, never broker and regulator at once, whatever the accounts.
    function _assignRoles(address account, uint32 requested) private {
        if (requested & ~uint32(Roles.ALL) != 0) revert ParticipantsRolesUnknown(requested);
        uint16 roles = uint16(requested);
        Participant storage participant = _participants[account];
        uint16 before = participant.roles;
        address operator = participant.operator;
        Operator memory record = _operators[operator];
        record.brokers = _recount(record.brokers, before & Roles.BROKER != 0, roles & Roles.BROKER != 0);
        record.regulators =
            _recount(record.regulators, before & Roles.REGULATOR != 0, roles & Roles.REGULATOR != 0);
        if (record.brokers != 0 && record.regulators != 0) revert ParticipantsOperatorConflict(operator);
        if (roles & Roles.HOLDER == 0) {
            if (before & Roles.HOLDER != 0) record.holder = address(0);
        } else if (before & Roles.HOLDER == 0) {
            if (record.holder != address(0)) revert ParticipantsOperatorHasHolder(operator, record.holder);
            record.holder = account;
            participant.since = uint48(block.number);
        }
        _operators[operator] = record;
        participant.roles = roles;
    }

    function _recount(uint32 count, bool had, bool has) private pure returns (uint32) {
        if (had == has) return count;
        return has ? count + 1 : count - 1;
    }
}
