// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title Who takes part in the market, in which roles, with which keys.
/// @notice Admission is the registrar's, suspension the regulator's. An **operator** is the body behind an account: no operator
/// is broker and regulator at once, and none has two holder accounts, so one request never counts one operator twice.
interface IParticipants {
    /// @param operator the body behind the account
    /// @param roles bits: REGISTRAR 1, HOLDER 2, BROKER 4, BUYER 8, REGULATOR 16, ISSUER 32, TRUSTEE 64, WITNESS 128
    /// @param status 0 none, 1 active, 2 suspended, 3 replaced by another account
    /// @param keyVersion counts the X25519 keys that the account has had, from 1
    /// @param since block in which the account last became its operator's holder account, else that of its admission
    struct Participant {
        address operator;
        uint16 roles;
        uint8 status;
        uint24 keyVersion;
        uint48 since;
        bytes32 x25519;
    }

    event ParticipantAdmitted(
        address indexed account, address indexed operator, uint32 roles, bytes32 x25519
    );
    event ParticipantSuspended(address indexed account);
    event ParticipantLifted(address indexed account);
    event RolesChanged(address indexed account, uint32 roles);
    event KeysRotated(address indexed account, uint32 keyVersion, bytes32 x25519);
    event AccountReplaced(
        address indexed account, address indexed successor, uint32 keyVersion, bytes32 x25519
    );

    error ParticipantsAddressZero();
    error ParticipantsKeyZero();
    error ParticipantsRolesUnknown(uint32 roles);
    error ParticipantsAlreadyAdmitted(address account);
    error ParticipantsStatusInvalid(address account, uint8 status);
    /// @notice The account is not active, or lacks one of the roles that the call needs.
    error ParticipantsInactive(address account, uint16 rolesNeeded);
    error ParticipantsOperatorConflict(address operator);
    error ParticipantsOperatorHasHolder(address operator, address holder);
    /// @notice The two accounts belong to one operator.
    error ParticipantsOperatorShared(address account, address other);
    /// @notice The account became a holder in or after the block in which the request was opened.
    error ParticipantsHolderTooNew(address holder, uint256 since, uint256 openedAt);

    /// @notice Admits an account (registrar).
    function admit(address account, address operator, uint32 roles, bytes32 x25519) external;

    /// @notice Gives an account other roles (registrar); none is allowed and leaves the account without any.
    function setRoles(address account, uint32 roles) external;

    /// @notice Moves a participant whose account key is lost to a new account (registrar). The old account can do nothing more;
    /// its assets, credits and bond follow by `adopt` and `reclaim`, its budget lines stay what they were.
    function replaceAccount(address account, address successor, bytes32 x25519) external;

    /// @notice Stops an account at once (regulator).
    function suspend(address account) external;

    /// @notice Ends a suspension (regulator).
    function lift(address account) external;

    /// @notice Replaces the caller's own X25519 key.
    function rotateKeys(bytes32 x25519) external;

    function get(address account) external view returns (Participant memory);

    /// @notice Whether the account is active and has all of `roles`.
    function isActive(address account, uint32 roles) external view returns (bool);

    /// @notice The holder account of an operator, zero if it has none.
    function holderOf(address operator) external view returns (address);

    /// @notice The account that took this one's place, zero if none did.
    function successorOf(address account) external view returns (address);

    /// @notice Whether `current` is today's account of the participant whose account was once `former`.
    function hasSucceeded(address current, address former) external view returns (bool);

    /// @notice The first account of the same participant, before any replacement: what ids are bound to.
    function rootOf(address account) external view returns (address);

    /// @notice Reverts unless the account is active and has all of `roles`.
    function requireActive(address account, uint16 roles) external view;

    /// @notice Reverts unless both are active in their roles and belong to different operators.
    function requireBrokerage(address buyer, address broker) external view;

    /// @notice Reverts unless `requireBrokerage` holds and the holder is active, belongs to neither operator and was its
    /// operator's holder account before block `openedAt`: two accounts of one operator never meet in one request.
    function requireIndependentHolder(address holder, address buyer, address broker, uint256 openedAt)
        external
        view;
}
