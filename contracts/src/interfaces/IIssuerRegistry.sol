// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title Which departments may issue which licence types in which cities, and with which keys they sign.
/// @notice Issuers, licence types, cities and keys are hashes that mean nothing to the chain (docs/licence.md §14). The registrar
/// recognises issuers and registers their keys, or binds an issuer to an account of its own that registers and retires them: who
/// sees a pending transaction and sends the same claim first gets nothing by it, and takes nothing from anybody.
interface IIssuerRegistry {
    /// @param status 0 none, 1 active, 2 retired, 3 compromised
    /// @param since, until Unix seconds of the block in which it became active, and in which it ended (0 while active)
    struct Key {
        uint8 status;
        uint64 since;
        uint64 until;
    }

    event IssuerRecognised(bytes32 indexed issuer, bytes32 indexed licenceType, bytes32 indexed city);
    event RecognitionWithdrawn(bytes32 indexed issuer, bytes32 indexed licenceType, bytes32 indexed city);
    event IssuerBound(bytes32 indexed issuer, address indexed account);
    event KeyRegistered(bytes32 indexed issuer, bytes32 indexed keyId);
    event KeyRetired(bytes32 indexed issuer, bytes32 indexed keyId);
    event KeyCompromised(bytes32 indexed issuer, bytes32 indexed keyId);

    error IssuerRegistryIdZero();
    error IssuerRegistryAddressZero();
    error IssuerRegistryRecognised(bytes32 issuer, bytes32 licenceType, bytes32 city);
    error IssuerRegistryNotRecognised(bytes32 issuer, bytes32 licenceType, bytes32 city);
    /// @notice The account acts for another issuer.
    error IssuerRegistryAccountTaken(address account, bytes32 issuer);
    /// @notice The caller is not the account that the registrar bound to the issuer.
    error IssuerRegistryNotIssuer(address caller, bytes32 issuer);
    /// @notice The issuer registered this key before, whatever became of it.
    error IssuerRegistryKeyTaken(bytes32 keyId, bytes32 issuer);
    error IssuerRegistryKeyStatus(bytes32 keyId, uint8 status);

    /// @notice Recognises an issuer for a licence type in a city (registrar).
    function recognise(bytes32 issuer, bytes32 licenceType, bytes32 city) external;

    /// @notice Ends a recognition (registrar); licences issued before stay what the log says they are.
    function withdraw(bytes32 issuer, bytes32 licenceType, bytes32 city) external;

    /// @notice Makes `account` the one that acts for the issuer, instead of its former one (registrar).
    function bindIssuer(bytes32 issuer, address account) external;

    /// @notice Registers a key of the issuer (its account).
    function registerKey(bytes32 issuer, bytes32 keyId) external;

    /// @notice The same, by the registrar, for an issuer with or without an account.
    function registerKeyFor(bytes32 issuer, bytes32 keyId) external;

    /// @notice Ends an active key's use for new signatures (the issuer's account).
    function retireKey(bytes32 issuer, bytes32 keyId) external;

    /// @notice The same, by the registrar.
    function retireKeyFor(bytes32 issuer, bytes32 keyId) external;

    /// @notice Says that a key, active or retired, is in other hands (the issuer's account); nothing ends this state.
    function compromiseKey(bytes32 issuer, bytes32 keyId) external;

    /// @notice The same as `compromiseKey`, by the registrar, whose word is needed when the issuer's own account is lost.
    function revokeKey(bytes32 issuer, bytes32 keyId) external;

    function isRecognised(bytes32 issuer, bytes32 licenceType, bytes32 city) external view returns (bool);

    /// @notice The account that acts for the issuer, zero if none does.
    function accountOf(bytes32 issuer) external view returns (address);

    /// @notice The issuer that the account acts for, zero if none.
    function issuerOf(address account) external view returns (bytes32);

    /// @notice The key of this id as its issuer has it; an id that several issuers claim is a key of each, apart from the others'.
    function key(bytes32 issuer, bytes32 keyId) external view returns (Key memory);
}
