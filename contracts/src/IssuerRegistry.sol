// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { IIssuerRegistry } from "./interfaces/IIssuerRegistry.sol";

/// @title IssuerRegistry
/// @dev The `restricted` functions are the registrar's, by the AccessManager. A key is known by its issuer and its id together: an
/// issuer that claims the id it saw in another's pending transaction says something about itself, and nothing about the other.
contract IssuerRegistry is IIssuerRegistry, AccessManaged {
    uint8 private constant ACTIVE = 1;
    uint8 private constant RETIRED = 2;
    uint8 private constant COMPROMISED = 3;

    mapping(bytes32 issuer => mapping(bytes32 licenceType => mapping(bytes32 city => bool))) private
        _recognised;
    mapping(bytes32 issuer => address) private _accounts;
    mapping(address account => bytes32) private _issuers;
    mapping(bytes32 issuer => mapping(bytes32 keyId => Key)) private _keys;

    constructor(address manager) AccessManaged(manager) { }

    /// @inheritdoc IIssuerRegistry
    function recognise(bytes32 issuer, bytes32 licenceType, bytes32 city) external restricted {
        if (issuer == 0 || licenceType == 0 || city == 0) revert IssuerRegistryIdZero();
        if (_recognised[issuer][licenceType][city]) {
            revert IssuerRegistryRecognised(issuer, licenceType, city);
        }
        _recognised[issuer][licenceType][city] = true;
        emit IssuerRecognised(issuer, licenceType, city);
    }

    /// @inheritdoc IIssuerRegistry
    function withdraw(bytes32 issuer, bytes32 licenceType, bytes32 city) external restricted {
        if (!_recognised[issuer][licenceType][city]) {
            revert IssuerRegistryNotRecognised(issuer, licenceType, city);
        }
        delete _recognised[issuer][licenceType][city];
        emit RecognitionWithdrawn(issuer, licenceType, city);
    }

    /// @inheritdoc IIssuerRegistry
    function bindIssuer(bytes32 issuer, address account) external restricted {
        if (issuer == 0) revert IssuerRegistryIdZero();
        if (account == address(0)) revert IssuerRegistryAddressZero();
        if (_issuers[account] != 0) revert IssuerRegistryAccountTaken(account, _issuers[account]);
        delete _issuers[_accounts[issuer]];
        _accounts[issuer] = account;
        _issuers[account] = issuer;
        emit IssuerBound(issuer, account);
    }

    /// @inheritdoc IIssuerRegistry
    function registerKey(bytes32 issuer, bytes32 keyId) external {
        _requireIssuer(issuer);
        _register(issuer, keyId);
    }

    /// @inheritdoc IIssuerRegistry
    function registerKeyFor(bytes32 issuer, bytes32 keyId) external restricted {
        if (issuer == 0) revert IssuerRegistryIdZero();
        _register(issuer, keyId);
    }

    /// @inheritdoc IIssuerRegistry
    function retireKey(bytes32 issuer, bytes32 keyId) external {
        _requireIssuer(issuer);
        _retire(issuer, keyId);
    }

    /// @inheritdoc IIssuerRegistry
    function retireKeyFor(bytes32 issuer, bytes32 keyId) external restricted {
        _retire(issuer, keyId);
    }

    /// @inheritdoc IIssuerRegistry
    function compromiseKey(bytes32 issuer, bytes32 keyId) external {
        _requireIssuer(issuer);
        _compromise(issuer, keyId);
    }

    /// @inheritdoc IIssuerRegistry
    function revokeKey(bytes32 issuer, bytes32 keyId) external restricted {
        _compromise(issuer, keyId);
    }

    /// @inheritdoc IIssuerRegistry
    function isRecognised(bytes32 issuer, bytes32 licenceType, bytes32 city) external view returns (bool) {
        return _recognised[issuer][licenceType][city];
    }

    /// @inheritdoc IIssuerRegistry
    function accountOf(bytes32 issuer) external view returns (address) {
        return _accounts[issuer];
    }

    /// @inheritdoc IIssuerRegistry
    function issuerOf(address account) external view returns (bytes32) {
        return _issuers[account];
    }

    /// @inheritdoc IIssuerRegistry
    function key(bytes32 issuer, bytes32 keyId) external view returns (Key memory) {
        return _keys[issuer][keyId];
    }

    function _register(bytes32 issuer, bytes32 keyId) private {
        if (keyId == 0) revert IssuerRegistryIdZero();
        Key storage record = _keys[issuer][keyId];
        if (record.status != 0) revert IssuerRegistryKeyTaken(keyId, issuer);
        record.status = ACTIVE;
        record.since = uint64(block.timestamp);
        emit KeyRegistered(issuer, keyId);
    }

    function _retire(bytes32 issuer, bytes32 keyId) private {
        Key storage record = _keys[issuer][keyId];
        if (record.status != ACTIVE) revert IssuerRegistryKeyStatus(keyId, record.status);
        record.status = RETIRED;
        record.until = uint64(block.timestamp);
        emit KeyRetired(issuer, keyId);
    }

    /// @dev A retired key's `until` stays: it is when it stopped signing.
    function _compromise(bytes32 issuer, bytes32 keyId) private {
        Key storage record = _keys[issuer][keyId];
        uint8 status = record.status;
        if (status != ACTIVE && status != RETIRED) revert IssuerRegistryKeyStatus(keyId, status);
        record.status = COMPROMISED;
        if (status == ACTIVE) record.until = uint64(block.timestamp);
        emit KeyCompromised(issuer, keyId);
    }

    function _requireIssuer(bytes32 issuer) private view {
        if (issuer == 0 || _issuers[msg.sender] != issuer) {
            revert IssuerRegistryNotIssuer(msg.sender, issuer);
        }
    }
}
